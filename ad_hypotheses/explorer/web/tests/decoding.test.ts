import "./browser.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { csv } from "../src/save.ts";
import { decodeContext, donorContext, packed, unpacked } from "../src/transport.ts";
import type { ModelView, State } from "../src/types.ts";
import { editWords, episodeOf, seen, stepName, stepWords } from "../src/words.ts";
import { ACTIONS, answer } from "./contexts.ts";

const model = { actions: ACTIONS, channels: ["x", "y"] } as unknown as ModelView;

test("a context is decoded into arrays, episodes and impossible steps", () => {
  const context = decodeContext(answer());
  assert.deepEqual([context.nSteps, context.nActions, context.nChannels], [6, 3, 2]);
  assert.deepEqual(context.starts, [0, 3, 6]);
  assert.deepEqual([...context.actions], [1, 2, 0, 2, 2, 0]);
  assert.equal(context.impossible.get(4), "a step that does not follow");
  assert.equal(context.before, null);
});

test("what it was before is decoded, and may be of another length", () => {
  const { log_probs, loss } = answer();
  const before = { log_probs, returns: [0, 0], changed: loss, code: "" };
  assert.equal(decodeContext(answer({ before })).before!.changed![2], 0.5);
  assert.equal(decodeContext(answer({ before: { ...before, changed: null } })).before!.changed, null);
});

test("a step is named by its episode", () => {
  const context = decodeContext(answer());
  assert.equal(stepName(context, 4), "1.1 (4)");
  assert.equal(episodeOf(context, 2), 0);
  assert.equal(seen(context, model, 4), "x 1, y 2");
  assert.match(stepWords(context, model, 4), /step 1\.1 \(4\) · x 1, y 2 · does right \(probability 0\.25\).*impossible/);
});

test("edits are said in words", () => {
  assert.equal(editWords({ kind: "edit", step: 3, action: "up", then: "world" }), "step 3: up; the world answers");
  assert.equal(editWords({ kind: "change_facts", step: 30, facts: { goal: [1, 3] } }), "from step 30: goal 1, 3");
});

test("a state comes back from its link as it was", async () => {
  const state = { schema: 1, model: { name: "bandit" }, notes: "wherefore? ☃", edits: [], step: 3 } as unknown as State;
  const link = await packed(state);
  assert.match(link, /^[A-Za-z0-9_-]+$/);
  assert.deepEqual(await unpacked(link), state);
  await assert.rejects(unpacked(link.slice(0, 8)));
});

test("a table is quoted where spreadsheets need it", () => {
  assert.equal(csv(["a", "b"], [["x,y", 1], ['say "so"', 2]]), 'a,b\n"x,y",1\n"say ""so""",2\n');
});

test("nobody stood in where a donor has no episode", () => {
  assert.equal(donorContext({ pass: 0, arrow: "root < node", row: null, step: null }), null);
});
