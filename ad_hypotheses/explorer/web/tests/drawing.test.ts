import "./browser.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { episodesPicture } from "../src/draw/episodes.ts";
import { drawHeat, heatOf, placeAt } from "../src/draw/heat.ts";
import { ACTIONS as COLOURS, type Paint, type Pen, STRIP_LABELS, tiling } from "../src/draw/paint.ts";
import { stripPicture } from "../src/draw/strip.ts";
import { SvgPen, svg } from "../src/draw/svg.ts";
import { decodeContext } from "../src/transport.ts";
import { ACTIONS, answer } from "./contexts.ts";

const names = ["text", "faint", "line", "panel", "sunken", "accent", "attention", "wrong", "paid"];
const paint = { ...Object.fromEntries(names.map((name) => [name, name])), actions: COLOURS } as unknown as Paint;
const pen = () => new SvgPen((text) => 6 * text.length);
const looks = { selected: 1, hovered: null, weights: null, actionNames: ACTIONS };

test("tiles fill a box as far as they can", () => {
  assert.equal(tiling(24, 780, 330, 15).columns, 8);
  const { columns, side } = tiling(1, 300, 200, 15);
  assert.deepEqual([columns, side], [1, 181]);
});

test("every episode of a room is a tile, and a click finds its step", () => {
  const picture = episodesPicture(decodeContext(answer()), 400, 200);
  const drawn = pen();
  picture.draw(drawn as unknown as Pen, paint, looks);
  const text = drawn.shapes.join("\n");
  assert.equal(text.match(/stroke-dasharray="3 2"/g)!.length, 2); // the goal, hollow, in both
  assert.match(text, /stroke="wrong"/); // the impossible step is crossed
  assert.match(text, new RegExp(`stroke="${COLOURS[2]}"`)); // where the selected action leads
  let found: number | null = null;
  for (let x = 0; x < 400; x += 3) for (let y = 0; y < picture.height; y += 3) found = picture.hit(x, y)?.step === 5 ? 5 : found;
  assert.equal(found, 5);
  assert.equal(picture.hit(-5, -5), null);
});

test("the strip marks what was done, and x leads back to its step", () => {
  const strip = stripPicture(decodeContext(answer()), STRIP_LABELS + 64, ACTIONS, []);
  const drawn = pen();
  const more = { ...looks, shown: [0, 6] as [number, number], drag: null, lanes: [], attentionName: "attention" };
  strip.draw(drawn as unknown as Pen, paint, more);
  const marks = drawn.shapes.filter((shape) => shape.includes('height="3" fill="text"'));
  assert.equal(marks.length, 6);
  assert.equal(strip.stepAt(STRIP_LABELS + 25, [0, 6]), 2);
  assert.equal(strip.stepAt(-100, [0, 6]), 0);
  assert.equal(strip.stepAt(9999, [0, 6]), 5);
});

test("what is drawn is written as SVG", () => {
  const drawing = {
    width: 40,
    height: 20,
    draw: (canvas: Pen) => {
      canvas.fillStyle = "#123456";
      canvas.globalAlpha = 0.25;
      canvas.fillRect(1, 2, 3.456, 4);
      canvas.globalAlpha = 1;
      canvas.textAlign = "right";
      canvas.fillText("a < b & c", 5, 6);
      canvas.beginPath();
      canvas.arc(10, 10, 4, 0, 7);
      canvas.fill();
      canvas.beginPath();
      canvas.moveTo(0, 0);
      canvas.lineTo(3, 4);
      canvas.setLineDash([3, 2]);
      canvas.stroke();
    },
  };
  const text = svg([drawing, drawing], "one & two", "white", "black", () => 1);
  assert.match(text, /<rect x="1" y="2" width="3.46" height="4" fill="#123456" opacity="0.25"\/>/);
  assert.match(text, /text-anchor="end".*a &lt; b &amp; c/);
  assert.match(text, /d="M6 10A4 4 0 1 0 14 10A4 4 0 1 0 6 10Z"/);
  assert.match(text, /d="M0 0L3 4" fill="none" stroke="#000" stroke-width="1" stroke-dasharray="3 2"/);
  assert.match(text, /<g transform="translate\(0 26\)">/);
  assert.match(text, /one &amp; two<\/text>\n<\/svg>/);
});

test("a map of places is as dark as their values, and a click finds its place", () => {
  const places = [0, 1, 2].flatMap((x) => [0, 1].map((y) => [x, y]));
  const values = places.map(([x, y]) => x - y);
  const heat = heatOf(places, 120);
  assert.deepEqual(heat, { columns: 3, rows: 2, side: 40 });
  const drawn = pen();
  drawHeat(drawn as unknown as Pen, paint, places, values, heat);
  const shades = drawn.shapes.filter((shape) => shape.includes('fill="accent"'));
  assert.match(shades[4], /x="80" y="0".*opacity="0.9"/); // the highest
  assert.match(shades[1], /x="0" y="40".*opacity="0"/); // the lowest
  assert.equal(placeAt(places, heat, 95, 45), 5);
  assert.equal(placeAt(places, heat, 125, 5), null);
});
