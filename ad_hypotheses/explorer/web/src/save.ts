// Files that the page gives: text, and pictures with a caption that says of what.
import { paintOf } from "./draw/paint.ts";
import { svg } from "./draw/svg.ts";
import { drawings } from "./ui/canvas.tsx";

function download(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name.replaceAll("/", "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function text(content: string, name: string, kind: string): void {
  download(new Blob([content], { type: kind }), name);
}

const CAPTION = 22;

function picture(canvases: HTMLCanvasElement[], caption: string, name: string): void {
  if (!canvases.length) return;
  const scale = devicePixelRatio || 1;
  const whole = document.createElement("canvas");
  whole.width = Math.max(...canvases.map((canvas) => canvas.width));
  whole.height = canvases.reduce((sum, canvas) => sum + canvas.height + 6 * scale, 0) + CAPTION * scale;
  const pen = whole.getContext("2d")!;
  const paint = paintOf(document.body);
  pen.fillStyle = paint.panel;
  pen.fillRect(0, 0, whole.width, whole.height);
  let top = 0;
  for (const canvas of canvases) {
    pen.drawImage(canvas, 0, top);
    top += canvas.height + 6 * scale;
  }
  pen.fillStyle = paint.text;
  pen.font = `${12 * scale}px system-ui, sans-serif`;
  pen.fillText(caption, 4 * scale, whole.height - 7 * scale);
  whole.toBlob((content) => content && download(content, `${name}.png`));
}

/** Save what canvases show as lines and text, which stay sharp at any size. */
function vector(canvases: HTMLCanvasElement[], caption: string, name: string): void {
  const shown = canvases.flatMap((canvas) => drawings.get(canvas)?.() ?? []);
  if (!shown.length) return;
  const pen = document.createElement("canvas").getContext("2d")!;
  const measure = (content: string, font: string) => {
    pen.font = font;
    return pen.measureText(content).width;
  };
  const paint = paintOf(document.body);
  text(svg(shown, caption, paint.panel, paint.text, measure), `${name}.svg`, "image/svg+xml");
}

/** Numbers in lines, as spreadsheets read them. */
export function csv(columns: string[], lines: (string | number)[][]): string {
  const cell = (value: string | number) => (/[",\n]/.test(`${value}`) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value}`);
  return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

export const save = { text, picture, vector };
