// Files that the page gives: text, and pictures with a caption that says of what.
import { paintOf } from "./draw/paint.ts";

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

/** Numbers in lines, as spreadsheets read them. */
export function csv(columns: string[], lines: (string | number)[][]): string {
  const cell = (value: string | number) => (/[",\n]/.test(`${value}`) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value}`);
  return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

export const save = { text, picture };
