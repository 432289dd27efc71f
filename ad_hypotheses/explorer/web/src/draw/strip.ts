// All steps on one line: what the model would do, what was done, what it was paid, and what differs from before.
import type { Context } from "../types.ts";
import { FONT, type Paint, type Pen, STRIP_LABELS, actionColour, label } from "./paint.ts";

export interface StripLooks {
  selected: number;
  hovered: number | null;
  shown: [number, number]; // steps
  drag: [number, number] | null;
  weights: Float32Array | null;
  lanes: Divergence[];
  attentionName: string;
  actionNames: string[];
}

/** How far something else is from the model at every step, in nats. */
export interface Divergence {
  name: string;
  values: Float32Array | null; // null while it is computed
}

interface Lane {
  name: string;
  top: number;
  height: number;
}

export interface Strip {
  height: number;
  draw: (pen: Pen, paint: Paint, looks: StripLooks) => void;
  stepAt: (x: number, shown: [number, number]) => number;
}

export function stripPicture(context: Context, width: number, actionNames: string[], more: string[]): Strip {
  const lanes: Lane[] = [];
  let top = 2;
  const add = (name: string, height: number, gap = 2) => {
    lanes.push({ name, top, height });
    top += height + gap;
  };
  add("regime", 9);
  const each = context.nActions > 6 ? 9 : 12;
  actionNames.forEach((name) => add(name, each, 1));
  top += 3;
  add("reward", 10, 3);
  add("loss", 30, 3);
  const changed = context.before?.changed ?? null;
  if (changed) add("changed", 22, 3);
  for (const name of more) add(name, 22, 3);
  add("attention", 24, 3);
  const lane = (name: string) => lanes.find((lane) => lane.name === name)!;
  const plot = width - STRIP_LABELS - 4;

  const draw = (pen: Pen, paint: Paint, looks: StripLooks): void => {
    const [from, to] = looks.shown;
    const size = plot / (to - from);
    const x = (step: number) => STRIP_LABELS + (step - from) * size;
    pen.font = FONT;
    names(pen, paint, lanes, looks);
    for (let step = from; step < to; step++) {
      const episodeParity = context.episode[step] % 2;
      if (episodeParity) {
        pen.fillStyle = paint.sunken;
        pen.fillRect(x(step), 0, size + 0.5, top);
      }
    }
    for (let step = from; step < to; step++) column(pen, paint, context, step, x(step), size, lane, actionNames);
    bars(pen, paint.faint, context.loss, lane("loss"), looks.shown, x, size, 4);
    if (changed) bars(pen, paint.wrong, changed, lane("changed"), looks.shown, x, size, 0);
    for (const { name, values } of looks.lanes) if (values) bars(pen, paint.wrong, values, lane(name), looks.shown, x, size, 0);
    if (looks.weights) bars(pen, paint.attention, looks.weights, lane("attention"), looks.shown, x, size, 0);
    cursor(pen, paint, looks, x, size, top);
  };

  return {
    height: top,
    draw,
    stepAt: (place, [from, to]) =>
      Math.max(from, Math.min(to - 1, from + Math.floor(((place - STRIP_LABELS) / plot) * (to - from)))),
  };
}

function names(pen: Pen, paint: Paint, lanes: Lane[], looks: StripLooks): void {
  pen.textAlign = "left";
  for (const lane of lanes) {
    const action = looks.actionNames.indexOf(lane.name);
    pen.fillStyle = action >= 0 ? actionColour(action) : paint.faint;
    if (action >= 0) pen.fillRect(0, lane.top + 2, 4, lane.height - 3);
    const name = lane.name === "attention" ? looks.attentionName : lane.name;
    pen.fillStyle = paint.faint;
    label(pen, name, 7, lane.top + Math.min(lane.height, 14) - 1, STRIP_LABELS - 11);
  }
}

const REGIMES = [0.15, 0.5, 0.85];

function column(
  pen: Pen,
  paint: Paint,
  context: Context,
  step: number,
  x: number,
  size: number,
  lane: (name: string) => Lane,
  actionNames: string[],
): void {
  const wide = size + 0.4;
  const regime = lane("regime");
  pen.globalAlpha = REGIMES[context.regime[step] % REGIMES.length];
  pen.fillStyle = paint.text;
  pen.fillRect(x, regime.top, wide, regime.height);
  actionNames.forEach((name, action) => {
    const { top, height } = lane(name);
    pen.globalAlpha = Math.exp(context.logProbs[step * context.nActions + action]);
    pen.fillStyle = actionColour(action);
    pen.fillRect(x, top, wide, height);
  });
  pen.globalAlpha = 1;
  const done = lane(actionNames[context.actions[step]]);
  pen.fillStyle = paint.text; // what was done: a mark in the row of its action
  pen.fillRect(x + size / 2 - Math.max(0.6, Math.min(2, size / 4)), done.top + done.height / 2 - 1.5, Math.max(1.2, Math.min(4, size / 2)), 3);
  const reward = context.rewards[step];
  if (reward !== 0) {
    const { top, height } = lane("reward");
    pen.fillStyle = reward > 0 ? paint.paid : paint.wrong;
    pen.fillRect(x, top, Math.max(1, size - 0.3), height);
  }
  if (context.impossible.has(step)) {
    pen.fillStyle = paint.wrong;
    pen.fillRect(x, 0, Math.max(2, size), 4);
  }
}

function bars(
  pen: Pen,
  colour: string,
  values: Float32Array,
  { top, height }: Lane,
  [from, to]: [number, number],
  x: (step: number) => number,
  size: number,
  least: number,
): void {
  let most = least || 1e-3;
  for (let step = from; step < Math.min(to, values.length); step++) most = Math.max(most, values[step]);
  pen.fillStyle = colour;
  for (let step = from; step < Math.min(to, values.length); step++) {
    const share = (height * values[step]) / most;
    pen.fillRect(x(step), top + height - share, Math.max(0.8, size - 0.2), share);
  }
}

function cursor(
  pen: Pen,
  paint: Paint,
  looks: StripLooks,
  x: (step: number) => number,
  size: number,
  height: number,
): void {
  const [from, to] = looks.shown;
  if (looks.drag) {
    const [first, last] = [Math.min(...looks.drag), Math.max(...looks.drag)];
    pen.globalAlpha = 0.2;
    pen.fillStyle = paint.accent;
    pen.fillRect(x(first), 0, x(last + 1) - x(first), height);
    pen.globalAlpha = 1;
  }
  for (const [step, colour, width] of [
    [looks.hovered, paint.faint, 1],
    [looks.selected, paint.accent, 1.5],
  ] as const) {
    if (step === null || step < from || step >= to) continue;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(x(step) - 0.5, 0.5, Math.max(2, size) + 1, height - 1);
  }
}
