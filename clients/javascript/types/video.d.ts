export interface VideoOptions {
  /** The gateway's socket, such as `wss://ticks.example.org/socket`. */
  socket: string;
  /** A key with the scope `video` or `write`. */
  key: string;
  /** One of identifier and metadata is needed. */
  identifier?: unknown;
  metadata?: object;
  session?: object;
}

/** A selector, a media element, an hls.js object or a video.js player. */
export type VideoTarget = string | HTMLMediaElement | { media: HTMLMediaElement | null } | { el(): Element };

/** Watch a video until the function that is returned is called. */
export function watchVideo(target: VideoTarget, options: VideoOptions): () => void;
