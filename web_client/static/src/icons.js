// @ts-check
/** Shapes on a grid of 24, drawn with a stroke. */

export const ICONS = {
  microphone: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  muted: "M9 9v2a3 3 0 0 0 4.6 2.5M15 11V6a3 3 0 0 0-5.6-1.5M5.5 11a6.5 6.5 0 0 0 9.9 5.5M18.4 12l.1-1M12 17.5V21M4 4l16 16",
  hangUp: "M8 8h8v8H8z",
  hold: "M12 3v9m0 0 3.5-3.5M12 12 8.5 8.5M5 15v3a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2v-3",
  interrupt: "M6 5v14M18 5v14M10 9l4 3-4 3z",
  send: "M5 12h13M12.5 6.5 18 12l-5.5 5.5",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 5.5v13M16 5.5v13",
  back: "M14.5 6 8.5 12l6 6",
  forward: "M9.5 6l6 6-6 6",
  download: "M12 4v11m0 0 4-4m-4 4-4-4M5 19h14",
  open: "M12 15V4m0 0 4 4m-4-4L8 8M5 19h14",
  close: "M6 6l12 12M18 6 6 18",
};
