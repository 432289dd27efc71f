// The return of every episode: of this context, before the last change, and of those in the model's record.
import type { Context } from "../types.ts";
import { FONT, type Paint, type Pen, actionColour } from "./paint.ts";

const LEFT = 34;
const BOTTOM = 16;

export function drawCurve(
  pen: Pen,
  paint: Paint,
  width: number,
  height: number,
  context: Context,
  curves: Record<string, number[]>,
  episode: number,
): void {
  const lines: [string, number[], string, number[], number][] = [];
  if (curves.source) lines.push(["source, mean", curves.source, paint.faint, [2, 3], 1]);
  if (curves.model) lines.push(["model, mean", curves.model, paint.faint, [], 1.5]);
  const { before } = context;
  if (before && before.returns.length === context.returns.length) lines.push([before.partner ? "compared with" : "before the last edit", before.returns, paint.wrong, [4, 3], 1.5]);
  lines.push(["this context", context.returns, paint.accent, [], 2]);
  const last = Math.max(1, ...lines.map(([, values]) => values.length - 1));
  const all = lines.flatMap(([, values]) => values).concat(context.optimum ?? 0, 0);
  const [low, high] = [Math.min(...all), Math.max(...all, 1e-9)];
  const x = (place: number) => LEFT + ((width - LEFT - 8) * place) / last;
  const y = (value: number) => 6 + (height - BOTTOM - 10) * (1 - (value - low) / (high - low || 1));
  pen.font = FONT;
  pen.fillStyle = paint.faint;
  pen.textAlign = "right";
  for (const value of [low, high]) pen.fillText(value.toFixed(high - low < 3 ? 1 : 0), LEFT - 5, y(value) + 4);
  pen.strokeStyle = paint.line;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(LEFT, y(low));
  pen.lineTo(width - 8, y(low));
  pen.stroke();
  if (context.optimum !== null) dashed(pen, paint.paid, [[LEFT, y(context.optimum)], [width - 8, y(context.optimum)]], [6, 3], 1);
  pen.fillStyle = paint.sunken;
  if (context.returns.length > 1) pen.fillRect(x(episode) - 4, 4, 8, height - BOTTOM - 6);
  for (const [, values, colour, pattern, size] of lines) {
    dashed(pen, colour, values.map((value, place) => [x(place), y(value)]), pattern, size);
    if (values.length === 1 || colour === paint.accent) {
      pen.fillStyle = colour;
      values.forEach((value, place) => pen.fillRect(x(place) - 1.5, y(value) - 1.5, 3, 3));
    }
  }
  let at = LEFT;
  pen.textAlign = "left";
  const named = lines.map(([name, , colour, pattern]): [string, string, number[]] => [name, colour, pattern]);
  if (context.optimum !== null) named.push(["optimum", paint.paid, [6, 3]]);
  for (const [name, colour, pattern] of named) {
    dashed(pen, colour, [[at, height - 7], [at + 16, height - 7]], pattern, 2);
    pen.fillStyle = paint.faint;
    pen.fillText(name, at + 21, height - 3);
    at += pen.measureText(name).width + 38;
  }
}

const PATTERNS = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

/** How those who live side by side are told apart: by colour, and by the dashes of their line. */
export const lineOf = (place: number): { colour: string; pattern: number[] } => ({
  colour: actionColour(place),
  pattern: PATTERNS[place % PATTERNS.length],
});

/** The return of every episode of several lives; of lives of one episode, what they were paid so far, step by step. */
export function drawLives(pen: Pen, paint: Paint, width: number, height: number, lives: [string, Context][], longest: number, since: number): void {
  const single = lives.every(([, life]) => life.starts.length <= 2);
  const values = lives.map(([, life]) => (single ? running(life.rewards) : life.returns));
  const perEpisode = Math.max(1, ...lives.map(([, life]) => (life.starts[1] ?? 1) - life.starts[0]));
  const last = Math.max(1, single ? longest - 1 : Math.ceil(longest / perEpisode) - 1);
  const [low, high] = [Math.min(0, ...values.flat()), Math.max(1e-9, ...values.flat())];
  const x = (place: number) => LEFT + ((width - LEFT - 8) * place) / last;
  const y = (value: number) => 6 + (height - BOTTOM) * (1 - (value - low) / (high - low || 1));
  pen.font = FONT;
  if (since) {
    pen.fillStyle = paint.sunken; // what all have in common
    pen.fillRect(LEFT, 4, x(single ? since : since / perEpisode) - LEFT, height - BOTTOM + 4);
  }
  pen.fillStyle = paint.faint;
  pen.textAlign = "right";
  for (const value of [low, high]) pen.fillText(value.toFixed(high - low < 3 ? 1 : 0), LEFT - 5, y(value) + 4);
  dashed(pen, paint.line, [[LEFT, y(low)], [width - 8, y(low)]], [], 1);
  values.forEach((line, place) => {
    const { colour, pattern } = lineOf(place);
    dashed(pen, colour, line.map((value, at) => [x(at), y(value)]), pattern, 2);
    pen.fillStyle = colour;
    if (line.length) pen.fillRect(x(line.length - 1) - 2, y(line[line.length - 1]) - 2, 4, 4);
  });
}

function running(rewards: Float32Array): number[] {
  let sum = 0;
  return [...rewards].map((reward) => (sum += reward));
}

function dashed(pen: Pen, colour: string, points: number[][], pattern: number[], width: number): void {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(pattern);
  pen.beginPath();
  points.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.setLineDash([]);
}
