import openMetrics = require("metronome-events");

openMetrics("https://ticks.example.org").setUserId("session", "ann");
new openMetrics.Metronome("https://ticks.example.org").view();
