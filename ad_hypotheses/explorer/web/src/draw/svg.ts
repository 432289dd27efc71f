// A pen that writes SVG: what is drawn on a canvas with the few calls that pictures use, as a file that scales.
import type { Pen } from "./paint.ts";

type Point = [number, number];

const ANCHORS: Record<string, string> = { left: "start", right: "end", center: "middle" };

/** Where text is measured: the pen of a canvas that is not shown. */
export type Measure = (text: string, font: string) => number;

/** Records what is drawn; the part of a canvas's context that pictures use. */
export class SvgPen {
  fillStyle = "#000";
  strokeStyle = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  font = "10px sans-serif";
  textAlign = "left";
  private dashes: number[] = [];
  private path: string[] = [];
  readonly shapes: string[] = [];

  constructor(private measure: Measure) {}

  clearRect(): void {}
  setTransform(): void {}

  fillRect(x: number, y: number, width: number, height: number): void {
    this.shapes.push(`<rect ${box(x, y, width, height)} fill="${this.fillStyle}"${this.alpha}/>`);
  }

  strokeRect(x: number, y: number, width: number, height: number): void {
    this.shapes.push(`<rect ${box(x, y, width, height)} fill="none"${this.stroked}/>`);
  }

  fillText(text: string, x: number, y: number): void {
    const [size, ...family] = this.font.split(" ");
    const anchor = ANCHORS[this.textAlign] ?? "start";
    const style = `font-size="${size}" font-family="${family.join(" ").replaceAll('"', "'")}" text-anchor="${anchor}"`;
    this.shapes.push(`<text x="${short(x)}" y="${short(y)}" ${style} fill="${this.fillStyle}"${this.alpha}>${escaped(text)}</text>`);
  }

  measureText(text: string): { width: number } {
    return { width: this.measure(text, this.font) };
  }

  beginPath(): void {
    this.path = [];
  }

  moveTo(...[x, y]: Point): void {
    this.path.push(`M${short(x)} ${short(y)}`);
  }

  lineTo(...[x, y]: Point): void {
    this.path.push(`${this.path.length ? "L" : "M"}${short(x)} ${short(y)}`);
  }

  /** A whole circle: pictures draw no other arcs. */
  arc(x: number, y: number, radius: number): void {
    const [r, left, right] = [short(radius), short(x - radius), short(x + radius)];
    this.path.push(`M${left} ${short(y)}A${r} ${r} 0 1 0 ${right} ${short(y)}A${r} ${r} 0 1 0 ${left} ${short(y)}Z`);
  }

  fill(): void {
    this.shapes.push(`<path d="${this.path.join("")}" fill="${this.fillStyle}"${this.alpha}/>`);
  }

  stroke(): void {
    this.shapes.push(`<path d="${this.path.join("")}" fill="none"${this.stroked}/>`);
  }

  setLineDash(pattern: number[]): void {
    this.dashes = pattern;
  }

  private get alpha(): string {
    return this.globalAlpha < 1 ? ` opacity="${short(this.globalAlpha)}"` : "";
  }

  private get stroked(): string {
    const dashes = this.dashes.length ? ` stroke-dasharray="${this.dashes.join(" ")}"` : "";
    return ` stroke="${this.strokeStyle}" stroke-width="${short(this.lineWidth)}"${dashes}${this.alpha}`;
  }
}

export interface Drawing {
  width: number;
  height: number;
  draw: (pen: Pen) => void;
}

const GAP = 6;
const CAPTION = 22;

/** Pictures one below the other, with a caption, as the text of an SVG file. */
export function svg(drawings: Drawing[], caption: string, background: string, ink: string, measure: Measure): string {
  const width = Math.max(...drawings.map((drawing) => drawing.width));
  const height = drawings.reduce((sum, drawing) => sum + drawing.height + GAP, 0) + CAPTION;
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<rect width="${width}" height="${height}" fill="${background}"/>`,
  ];
  let top = 0;
  for (const drawing of drawings) {
    const pen = new SvgPen(measure);
    drawing.draw(pen as unknown as Pen);
    lines.push(`<g transform="translate(0 ${top})">`, ...pen.shapes, "</g>");
    top += drawing.height + GAP;
  }
  const place = `x="4" y="${height - 7}" font-size="12px" font-family="system-ui, sans-serif"`;
  return [...lines, `<text ${place} fill="${ink}">${escaped(caption)}</text>`, "</svg>", ""].join("\n");
}

const box = (x: number, y: number, width: number, height: number): string =>
  `x="${short(x)}" y="${short(y)}" width="${short(Math.max(0, width))}" height="${short(Math.max(0, height))}"`;

const short = (value: number): string => `${Math.round(value * 100) / 100}`;

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

const escaped = (text: string): string => text.replace(/[&<>"]/g, (letter) => ENTITIES[letter]);
