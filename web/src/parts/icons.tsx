// Drawn on a grid of 20, stroked with the colour of the text.
const SHAPES = {
  plus: "M10 4v12M4 10h12",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM13 13l3.5 3.5",
  dots: "M5 10h.01M10 10h.01M15 10h.01",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  play: "M6.5 4.5v11l9-5.5z",
  stop: "M5.5 5.5h9v9h-9z",
  pause: "M6 5.5h2.5v9H6zM11.5 5.5H14v9h-2.5z",
  trash: "M4 5.5h12M8 5.5V4h4v1.5M5.5 5.5l.7 10.5h7.6l.7-10.5M8.5 8.5v5M11.5 8.5v5",
  globe: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM3 10h14M10 3c2.2 2 3 4.3 3 7s-.8 5-3 7c-2.2-2-3-4.3-3-7s.8-5 3-7Z",
  noGlobe: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM5 5l10 10",
  shield: "M10 3l6 2v5c0 3.5-2.5 6-6 7-3.5-1-6-3.5-6-7V5z",
  box: "M10 3l6.5 3.5v7L10 17l-6.5-3.5v-7zM3.5 6.5 10 10l6.5-3.5M10 10v7",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7",
  lock: "M5 3l4 11 1.7-4.3L15 8zM14 13v4M12 15h4",
  keys: "M3.5 8h5v5h-5zM11.5 8h5v5h-5z",
  clipboard: "M7 4.5H5v12h10v-12h-2M7.5 3h5v3h-5z",
  expand: "M4 8V4h4M12 4h4v4M16 12v4h-4M8 16H4v-4",
  shrink: "M8 4v4H4M16 8h-4V4M12 16v-4h4M4 12h4v4",
  camera: "M3 6.5h3.5L8 4.5h4l1.5 2H17v9H3zM10 13.5a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6Z",
  sound: "M3.5 8v4h3l4 3.5v-11L6.5 8zM13 7.5a3.5 3.5 0 0 1 0 5M15 5a7 7 0 0 1 0 10",
  silent: "M3.5 8v4h3l4 3.5v-11L6.5 8zM13 8l4 4M17 8l-4 4",
  voice: "M10 12.5a2.5 2.5 0 0 0 2.5-2.5V5.5a2.5 2.5 0 0 0-5 0V10a2.5 2.5 0 0 0 2.5 2.5ZM5 10a5 5 0 0 0 10 0M10 15v2.5",
  record: "M10 16.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM10 12.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4Z",
  fit: "M3 4.5h14v11H3zM6 7.5h8v5H6z",
  share: "M8.3 11.7a3 3 0 0 0 4.3 0l3-3a3 3 0 1 0-4.3-4.3l-1 1M11.7 8.3a3 3 0 0 0-4.3 0l-3 3a3 3 0 1 0 4.3 4.3l1-1",
  grid: "M3.5 3.5h5v5h-5zM11.5 3.5h5v5h-5zM3.5 11.5h5v5h-5zM11.5 11.5h5v5h-5z",
  folder: "M2.5 5.5h5l1.5 2h8.5v8.5h-15z",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  check: "M4 10.5l4 4 8-9",
  cross: "M5 5l10 10M15 5L5 15",
  alert: "M10 3.5l7.5 13h-15zM10 8.5v3.5M10 14.5h.01",
  again: "M15.5 10a5.5 5.5 0 1 1-1.6-3.9M14.5 3v3.5H11",
  down: "M5 8l5 5 5-5",
  person: "M10 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM4 16.5c.7-3 3-4.5 6-4.5s5.3 1.5 6 4.5",
  eye: "M2.5 10C4.5 6.5 7 5 10 5s5.5 1.5 7.5 5c-2 3.5-4.5 5-7.5 5s-5.5-1.5-7.5-5ZM10 12.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4Z",
} as const;

export type IconName = keyof typeof SHAPES;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={SHAPES[name]} />
    </svg>
  );
}

/** The bay window the house is named after. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M4 9.5 10 7v6.2l-6 1.1zM12 6h8v6.9h-8zM22 7l6 2.5v4.8l-6-1.1zM4 16.7l6-1.1V25l-6-2.5zM12 15.3h8V26h-8zM22 15.6l6 1.1v5.8L22 25z" />
    </svg>
  );
}
