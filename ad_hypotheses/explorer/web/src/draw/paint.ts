// Colours of pictures, and the canvas that a picture is drawn on.

export interface Paint {
  text: string;
  faint: string;
  line: string;
  panel: string;
  sunken: string;
  accent: string;
  attention: string;
  wrong: string;
  paid: string;
  actions: string[];
}

/** Colours of the actions, after Okabe and Ito; beyond eight they begin again, with letters to tell them apart. */
export const ACTIONS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a900", "#7f7f7f"];

export function paintOf(element: Element): Paint {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: colour("text"),
    faint: colour("faint"),
    line: colour("line"),
    panel: colour("panel"),
    sunken: colour("sunken"),
    accent: colour("accent"),
    attention: colour("attention"),
    wrong: colour("wrong"),
    paid: colour("paid"),
    actions: ACTIONS,
  };
}

export const actionColour = (action: number): string => ACTIONS[action % ACTIONS.length];

export type Pen = CanvasRenderingContext2D;

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export function inside(box: Box, x: number, y: number): boolean {
  return x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
}

/** The number of columns with which so many squares become largest in a box, and their side. */
export function tiling(count: number, width: number, height: number, caption: number): { columns: number; side: number } {
  let best = { columns: 1, side: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const side = Math.floor(Math.min(width / columns - 6, height / rows - caption - 4));
    if (side > best.side) best = { columns, side };
  }
  return { ...best, side: Math.max(best.side, 24) };
}

/** Draw text that is cut where it would not fit. */
export function label(pen: Pen, text: string, x: number, y: number, width: number): void {
  let shown = text;
  while (shown.length > 1 && pen.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`;
  pen.fillText(shown, x, y);
}

/** Pixels left of the strip that its labels take. */
export const STRIP_LABELS = 74;

export const FONT = "11px system-ui, sans-serif";
