// A map of places, each as dark as what is asked about is high there.
import { FONT, type Paint, type Pen } from "./paint.ts";

export interface Heat {
  columns: number;
  rows: number;
  side: number; // of a cell
}

/** How a map of so many places fits into a width. */
export function heatOf(places: number[][], width: number): Heat {
  const columns = 1 + Math.max(...places.map((place) => place[0]));
  const rows = 1 + Math.max(...places.map((place) => place[1] ?? 0));
  return { columns, rows, side: Math.max(4, Math.floor(Math.min(width / columns, 320 / rows))) };
}

export function drawHeat(pen: Pen, paint: Paint, places: number[][], values: number[], heat: Heat): void {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  pen.font = FONT;
  pen.textAlign = "center";
  places.forEach(([column, row = 0], place) => {
    const share = (values[place] - low) / (high - low || 1);
    const [x, y] = [column * heat.side, row * heat.side];
    pen.fillStyle = paint.sunken;
    pen.fillRect(x, y, heat.side - 1, heat.side - 1);
    pen.globalAlpha = 0.9 * share;
    pen.fillStyle = paint.accent;
    pen.fillRect(x, y, heat.side - 1, heat.side - 1);
    pen.globalAlpha = 1;
    if (heat.side >= 34) {
      pen.fillStyle = share > 0.6 ? paint.panel : paint.text;
      pen.fillText(values[place].toFixed(1), x + heat.side / 2, y + heat.side / 2 + 4);
    }
  });
}

/** Which place is where. */
export function placeAt(places: number[][], heat: Heat, x: number, y: number): number | null {
  const [column, row] = [Math.floor(x / heat.side), Math.floor(y / heat.side)];
  const found = places.findIndex((place) => place[0] === column && (place[1] ?? 0) === row);
  return found < 0 ? null : found;
}
