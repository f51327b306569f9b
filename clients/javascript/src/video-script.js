/** The player client as a script of a page: `window.watchVideo`. */

import { watchVideo } from "./video.js";

window.watchVideo = watchVideo;
