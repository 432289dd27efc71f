// A small picture of every episode: a room, a graph, or a map; for other worlds a row of actions.
import type { Context, GridMap, World } from "../types.ts";
import { type Box, FONT, type Paint, type Pen, STRIP_LABELS, actionColour, inside, label, tiling } from "./paint.ts";

export interface EpisodeLooks {
  selected: number;
  hovered: number | null;
  weights: Float32Array | null; // attention from the selected step on the steps up to it
  actionNames: string[];
}

/** What a place in the picture means. */
export interface Hit {
  episode: number;
  step: number | null;
  cell: number[] | null; // the observation, or the place on a map
}

export interface Picture {
  height: number;
  draw: (pen: Pen, paint: Paint, looks: EpisodeLooks) => void;
  hit: (x: number, y: number) => Hit | null;
}

const CAPTION = 15;

/** Draw all episodes; where more are to come, `atLeast` so many have their places. */
export function episodesPicture(context: Context, width: number, height: number, atLeast = 0): Picture {
  const { world } = context;
  if (world.kind === "room" || world.kind === "graph" || (world.kind === "grid" && world.map)) {
    return tiles(context, width, height, atLeast);
  }
  return rows(context, width, height);
}

function tiles(context: Context, width: number, height: number, atLeast: number): Picture {
  const count = context.starts.length - 1;
  const { columns, side } = tiling(Math.max(count, atLeast), width, height, CAPTION);
  const left = Math.floor((width - columns * (side + 6)) / 2);
  const boxes: Box[] = Array.from({ length: count }, (_, episode) => ({
    x: left + 3 + (episode % columns) * (side + 6),
    y: Math.floor(episode / columns) * (side + CAPTION + 4) + CAPTION,
    width: side,
    height: side,
  }));
  const geometry = boxes.map((box) => placesOf(context, box));

  const draw = (pen: Pen, paint: Paint, looks: EpisodeLooks): void => {
    pen.font = FONT;
    for (let episode = 0; episode < count; episode++) {
      drawTile(pen, paint, context, episode, boxes[episode], geometry[episode], looks);
    }
  };

  const hit = (x: number, y: number): Hit | null => {
    const episode = boxes.findIndex((box) => inside({ ...box, y: box.y - CAPTION, height: box.height + CAPTION }, x, y));
    if (episode < 0) return null;
    const places = geometry[episode];
    let nearest: number | null = null;
    let least = Infinity;
    for (let step = context.starts[episode]; step < context.starts[episode + 1]; step++) {
      const [px, py] = places.at(step);
      const distance = Math.hypot(px - x, py - y);
      // of several visits of a place, the last
      if (distance <= least && distance < places.reach) [nearest, least] = [step, distance];
    }
    return { episode, step: nearest, cell: places.cell(x, y) };
  };
  return { height: Math.ceil(Math.max(count, atLeast) / columns) * (side + CAPTION + 4), draw, hit };
}

interface Places {
  at: (step: number) => [number, number];
  cell: (x: number, y: number) => number[] | null;
  centre: (cell: number[]) => [number, number];
  size: number; // of a cell
  reach: number; // how near a click must be
}

function placesOf(context: Context, box: Box): Places {
  const { world } = context;
  if (world.kind === "graph") return graphPlaces(context, world.states, box);
  const grid = world.kind === "grid" ? world.map! : null;
  const columns = grid ? grid.width : (world as { width: number }).width;
  const lines = grid ? grid.height : (world as { height: number }).height;
  const size = Math.min(box.width / columns, box.height / lines);
  const centre = ([x, y]: number[]): [number, number] => [box.x + (x + 0.5) * size, box.y + (y + 0.5) * size];
  const observed = (step: number): number[] =>
    grid ? grid.agent[step] : [context.observations[2 * step], context.observations[2 * step + 1]];
  return {
    at: (step) => centre(observed(step)),
    centre,
    cell: (x, y) => {
      const cell = [Math.floor((x - box.x) / size), Math.floor((y - box.y) / size)];
      return cell[0] >= 0 && cell[1] >= 0 && cell[0] < columns && cell[1] < lines ? cell : null;
    },
    size,
    reach: size * 0.75,
  };
}

function graphPlaces(context: Context, states: number, box: Box): Places {
  const radius = box.width / 2 - 9;
  const centre = ([state]: number[]): [number, number] => {
    const angle = (2 * Math.PI * state) / states - Math.PI / 2;
    return [box.x + box.width / 2 + radius * Math.cos(angle), box.y + box.height / 2 + radius * Math.sin(angle)];
  };
  const size = Math.min(16, (2 * Math.PI * radius) / states / 1.6);
  const cell = (x: number, y: number): number[] | null => {
    const distances = Array.from({ length: states }, (_, state) => Math.hypot(...difference(centre([state]), [x, y])));
    const nearest = distances.indexOf(Math.min(...distances));
    return distances[nearest] < size ? [nearest] : null;
  };
  return { at: (step) => centre([context.observations[step]]), centre, cell, size, reach: size };
}

const difference = (first: number[], second: number[]): [number, number] => [first[0] - second[0], first[1] - second[1]];

function drawTile(
  pen: Pen,
  paint: Paint,
  context: Context,
  episode: number,
  box: Box,
  places: Places,
  looks: EpisodeLooks,
): void {
  const [first, stop] = [context.starts[episode], context.starts[episode + 1]];
  const within = looks.selected >= first && looks.selected < stop;
  pen.textAlign = "left";
  pen.fillStyle = within ? paint.accent : paint.faint;
  pen.fillText(`${episode + context.firstEpisode}`, box.x, box.y - 4);
  pen.textAlign = "right";
  // no room for two numbers above a small tile
  if (box.width >= 30) pen.fillText(context.returns[episode].toFixed(Number.isInteger(context.returns[episode]) ? 0 : 1), box.x + box.width, box.y - 4);
  ground(pen, paint, context.world, first, stop, box, places);
  if (looks.weights) attentionOn(pen, paint, context, looks.weights, first, stop, places);
  hidden(pen, paint, context.world, episode, places);
  path(pen, paint, context, first, stop, places);
  pen.lineWidth = within ? 2 : 1;
  pen.strokeStyle = within ? paint.accent : paint.line;
  pen.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
  if (looks.hovered !== null && looks.hovered >= first && looks.hovered < stop) ring(pen, paint.faint, places, looks.hovered, 1.5);
  if (within) {
    ring(pen, paint.accent, places, looks.selected, 2.5);
    direction(pen, context, looks, places);
  }
}

function ground(
  pen: Pen,
  paint: Paint,
  world: World,
  first: number,
  stop: number,
  box: Box,
  places: Places,
): void {
  pen.fillStyle = world.kind === "room" ? paint.sunken : paint.panel;
  pen.fillRect(box.x, box.y, box.width, box.height);
  if (world.kind === "room") {
    pen.fillStyle = paint.panel; // what was visited stands out from what never was
    for (let step = first; step < stop; step++) {
      const [x, y] = places.at(step);
      pen.fillRect(x - places.size / 2, y - places.size / 2, places.size, places.size);
    }
  } else if (world.kind === "graph") {
    pen.strokeStyle = paint.line;
    pen.lineWidth = 1;
    pen.beginPath();
    world.next.forEach((targets, state) => {
      for (const target of targets) {
        pen.moveTo(...places.centre([state]));
        pen.lineTo(...places.centre([target]));
      }
    });
    pen.stroke();
    for (let state = 0; state < world.states; state++) {
      const [x, y] = places.centre([state]);
      pen.beginPath();
      pen.arc(x, y, places.size / 2.4, 0, 7);
      pen.fillStyle = paint.panel;
      pen.fill();
      pen.stroke();
    }
  } else if (world.kind === "grid" && world.map) {
    drawMap(pen, paint, world.map, places);
  }
}

function drawMap(pen: Pen, paint: Paint, map: GridMap, places: Places): void {
  for (let x = 0; x < map.width; x++) {
    for (let y = 0; y < map.height; y++) {
      const [cx, cy] = places.centre([x, y]);
      drawObject(pen, paint, map.cells[x][y], cx, cy, places.size);
    }
  }
}

const OBJECT_COLOURS = ["#d0433a", "#2e8b57", "#3b6fd4", "#8a4fbf", "#c9a400", "#8c8c8c"]; // red green blue purple yellow grey
const OBJECT_LETTERS = ["", "", "", "▒", "D", "K", "●", "B", "G", "L", "A"];

/** Draw what is in a cell of MiniGrid: its type, colour and state. */
export function drawObject(pen: Pen, paint: Paint, [type, colour, state]: number[], x: number, y: number, size: number): void {
  if (type === 1) return;
  if (type === 0 || type === 2) {
    pen.fillStyle = type === 2 ? paint.faint : paint.sunken;
    pen.fillRect(x - size / 2, y - size / 2, size, size);
    return;
  }
  pen.fillStyle = OBJECT_COLOURS[colour % 6];
  pen.globalAlpha = type === 8 ? 0.55 : 1;
  if (type === 8 || type === 9) pen.fillRect(x - size / 2, y - size / 2, size, size);
  pen.globalAlpha = 1;
  pen.fillStyle = type === 8 ? paint.text : OBJECT_COLOURS[colour % 6];
  pen.font = `${Math.max(8, Math.floor(size * 0.7))}px system-ui, sans-serif`;
  pen.textAlign = "center";
  const open = type === 4 ? ["▯", "▮", "▣"][state] : OBJECT_LETTERS[type];
  pen.fillText(open ?? "", x, y + size * 0.25);
  pen.font = FONT;
}

function hidden(pen: Pen, paint: Paint, world: World, episode: number, places: Places): void {
  const marks: [string, number[]][] =
    world.kind === "room"
      ? Object.entries(world.places).map(([name, cells]) => [name, cells[episode] ?? cells[0]])
      : world.kind === "graph"
        ? [["goal", [world.goal]]]
        : world.kind === "grid" && world.map?.goal
          ? [["goal", world.map.goal]]
          : [];
  pen.lineWidth = 1.5;
  for (const [name, cell] of marks) {
    pen.strokeStyle = pen.fillStyle = name === "trap" ? paint.wrong : paint.paid;
    const [x, y] = places.centre(cell);
    const half = places.size / 2 - 1;
    pen.setLineDash([3, 2]); // hollow: a fact that the model cannot see
    pen.strokeRect(x - half, y - half, 2 * half, 2 * half);
    pen.setLineDash([]);
    if (marks.length > 1 && places.size > 9) {
      pen.textAlign = "center";
      pen.fillText(name[0], x, y + 4);
    }
  }
}

function path(pen: Pen, paint: Paint, context: Context, first: number, stop: number, places: Places): void {
  pen.lineWidth = Math.max(1, Math.min(2, places.size / 8));
  for (let step = first + 1; step < stop; step++) {
    pen.strokeStyle = paint.text;
    pen.globalAlpha = 0.25 + (0.65 * (step - first)) / (stop - first); // fading with age
    pen.beginPath();
    pen.moveTo(...places.at(step - 1));
    pen.lineTo(...places.at(step));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  const [x, y] = places.at(first);
  pen.fillStyle = paint.text;
  pen.beginPath();
  pen.arc(x, y, Math.max(1.5, places.size / 7), 0, 7);
  pen.fill();
  for (let step = first; step < stop; step++) {
    // a reward belongs to where its action led; after the last step that is not seen
    const reward = context.rewards[step];
    if (reward) dot(pen, reward > 0 ? paint.paid : paint.wrong, places.at(Math.min(step + 1, stop - 1)), places.size);
    if (context.impossible.has(step)) cross(pen, paint.wrong, places.at(step), places.size);
  }
}

function dot(pen: Pen, colour: string, [x, y]: [number, number], size: number): void {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, Math.max(2, size / 4.5), 0, 7);
  pen.fill();
}

function cross(pen: Pen, colour: string, [x, y]: [number, number], size: number): void {
  const half = Math.max(3, size / 3);
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x - half, y - half);
  pen.lineTo(x + half, y + half);
  pen.moveTo(x - half, y + half);
  pen.lineTo(x + half, y - half);
  pen.stroke();
}

function ring(pen: Pen, colour: string, places: Places, step: number, width: number): void {
  const [x, y] = places.at(step);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(x, y, Math.max(4, places.size / 2.2), 0, 7);
  pen.stroke();
}

const WAYS: Record<string, [number, number]> = { up: [0, -1], down: [0, 1], left: [-1, 0], right: [1, 0] };

/** Draw where the action of the selected step leads, in its colour. */
function direction(pen: Pen, context: Context, looks: EpisodeLooks, places: Places): void {
  const action = context.actions[looks.selected];
  const way = WAYS[looks.actionNames[action]];
  if (context.world.kind === "grid" && context.world.map) {
    facing(pen, places.at(looks.selected), context.world.map.agent[looks.selected][2], places.size);
    return;
  }
  if (context.world.kind !== "room" || !way) return;
  const [x, y] = places.at(looks.selected);
  const length = places.size * 0.9;
  pen.strokeStyle = actionColour(action);
  pen.lineWidth = Math.max(2, places.size / 6);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x + way[0] * length, y + way[1] * length);
  pen.stroke();
}

/** Draw which way the agent of a grid looks: 0 is right, then down, left, up. */
function facing(pen: Pen, [x, y]: [number, number], direction: number, size: number): void {
  const angle = (Math.PI / 2) * direction;
  const corner = (turn: number, length: number): [number, number] => [
    x + length * size * Math.cos(angle + turn),
    y + length * size * Math.sin(angle + turn),
  ];
  pen.fillStyle = pen.strokeStyle; // as its ring
  pen.beginPath();
  pen.moveTo(...corner(0, 0.95));
  pen.lineTo(...corner(0.6, 0.45));
  pen.lineTo(...corner(-0.6, 0.45));
  pen.fill();
}

function attentionOn(
  pen: Pen,
  paint: Paint,
  context: Context,
  weights: Float32Array,
  first: number,
  stop: number,
  places: Places,
): void {
  const sums = new Map<string, [number, [number, number]]>();
  for (let step = first; step < Math.min(stop, weights.length); step++) {
    const place = places.at(step);
    const key = place.join();
    sums.set(key, [(sums.get(key)?.[0] ?? 0) + weights[step], place]);
  }
  pen.fillStyle = paint.attention;
  for (const [weight, [x, y]] of sums.values()) {
    if (weight < 0.004) continue;
    pen.globalAlpha = shade(weight);
    if (context.world.kind === "graph") {
      pen.beginPath();
      pen.arc(x, y, places.size / 1.5, 0, 7);
      pen.fill();
    } else pen.fillRect(x - places.size / 2, y - places.size / 2, places.size, places.size);
  }
  pen.globalAlpha = 1;
}

/** How strongly a share of attention is drawn: small ones can be told apart, and many small ones stay pale. */
const shade = (weight: number): number => Math.min(0.92, 2.2 * weight ** 0.7);

const LABELS = 34; // pixels

/** Draw one episode alone: of a donor, with the step that stood in. */
export function drawEpisode(pen: Pen, paint: Paint, context: Context, width: number, step: number, actionNames: string[]): void {
  const looks: EpisodeLooks = { selected: step, hovered: null, weights: null, actionNames };
  episodesPicture(context, width, width).draw(pen, paint, looks);
}

/** A row of actions for each episode; of bandits, a row for each arm instead. */
function rows(context: Context, width: number, height: number): Picture {
  const count = context.starts.length - 1;
  const longest = Math.max(...context.starts.slice(1).map((stop, episode) => stop - context.starts[episode]));
  const arms = context.world.kind === "arms" ? context.nActions : 1;
  const left = arms > 1 ? STRIP_LABELS : LABELS; // a single life of pulls stands above the strip, step over step
  const right = arms > 1 && count === 1 ? 4 : 40;
  const line = Math.max(arms === 1 ? 10 : 7, Math.min(arms === 1 ? 22 : 26, Math.floor(height / (count * arms)) - (arms === 1 ? 2 : 0)));
  const step = (width - left - right) / longest;
  const top = (episode: number) => episode * (arms * line + (arms === 1 ? 2 : 10));

  const draw = (pen: Pen, paint: Paint, looks: EpisodeLooks): void => {
    pen.font = FONT;
    for (let episode = 0; episode < count; episode++) {
      const y = top(episode);
      drawRow(pen, paint, context, episode, y, line, step, arms, left, looks);
      pen.textAlign = "left";
      pen.fillStyle = paint.faint;
      if (right > 4) pen.fillText(context.returns[episode].toFixed(1).replace(/\.0$/, ""), width - 36, y + line * arms * 0.5 + 4);
    }
  };

  const hit = (x: number, y: number): Hit | null => {
    for (let episode = 0; episode < count; episode++) {
      const begin = top(episode);
      const number = Math.floor((x - left) / step);
      if (y < begin || y >= begin + arms * line || number < 0) continue;
      const chosen = context.starts[episode] + number;
      if (chosen >= context.starts[episode + 1]) continue;
      return { episode, step: chosen, cell: arms > 1 ? [Math.floor((y - begin) / line)] : null };
    }
    return null;
  };
  return { height: top(count), draw, hit };
}

function drawRow(
  pen: Pen,
  paint: Paint,
  context: Context,
  episode: number,
  y: number,
  line: number,
  width: number,
  arms: number,
  left: number,
  looks: EpisodeLooks,
): void {
  const [first, stop] = [context.starts[episode], context.starts[episode + 1]];
  const most = Math.max(1e-9, ...context.rewards.subarray(first, stop));
  pen.textAlign = "left";
  for (let arm = 0; arm < arms; arm++) {
    pen.fillStyle = arms > 1 ? actionColour(arm) : looks.selected >= first && looks.selected < stop ? paint.accent : paint.faint;
    label(pen, arms > 1 ? looks.actionNames[arm] : `${episode + context.firstEpisode}`, 2, y + arm * line + line / 2 + 4, left - 4);
  }
  pen.fillStyle = paint.sunken;
  pen.fillRect(left, y, (stop - first) * width, arms * line - 1);
  for (let step = first; step < stop; step++) {
    const x = left + (step - first) * width;
    const action = context.actions[step];
    const lane = arms > 1 ? action : 0;
    if (looks.weights && step < looks.weights.length && looks.weights[step] > 0.004) {
      pen.globalAlpha = shade(looks.weights[step]);
      pen.fillStyle = paint.attention;
      pen.fillRect(x, y, width, arms * line - 1);
      pen.globalAlpha = 1;
    }
    const share = Math.max(0, context.rewards[step]) / most;
    pen.fillStyle = actionColour(action);
    pen.globalAlpha = context.rewards[step] > 0 ? 1 : 0.45;
    const height = (line - 2) * (0.4 + 0.6 * share);
    pen.fillRect(x + 0.5, y + lane * line + (line - 1 - height), Math.max(1, width - 1), height);
    pen.globalAlpha = 1;
    if (context.impossible.has(step)) cross(pen, paint.wrong, [x + width / 2, y + line / 2], width);
    if (step === looks.selected || step === looks.hovered) {
      pen.strokeStyle = step === looks.selected ? paint.accent : paint.faint;
      pen.lineWidth = step === looks.selected ? 2 : 1;
      pen.strokeRect(x - 0.5, y - 0.5, width + 1, arms * line);
    }
  }
}

/** Draw what the agent of MiniGrid sees at a step; it stands below, in the middle, and looks up. */
export function drawView(pen: Pen, paint: Paint, context: Context, step: number, side: number): void {
  if (context.world.kind !== "grid") return;
  const { view } = context.world;
  const size = side / view;
  const from = step * context.nChannels;
  pen.fillStyle = paint.panel;
  pen.fillRect(0, 0, side, side);
  for (let i = 0; i < view; i++) {
    for (let j = 0; j < view; j++) {
      const at = from + 3 * (i * view + j);
      const object = [...context.observations.subarray(at, at + 3)];
      drawObject(pen, paint, object, (i + 0.5) * size, (j + 0.5) * size, size - 1);
    }
  }
  pen.strokeStyle = paint.accent;
  pen.lineWidth = 2;
  pen.strokeRect((view >> 1) * size, (view - 1) * size, size, size - 1);
}
