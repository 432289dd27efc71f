// A context as the server sends it: two episodes of three steps in a room of 3 x 3, with three actions.
import type { ContextAnswer } from "../src/types.ts";

const packed = (values: number[], kind: typeof Int16Array | typeof Float32Array): string =>
  Buffer.from(new kind(values).buffer).toString("base64");

const PROBABILITIES = [0.5, 0.25, 0.25];
export const ACTIONS = ["stay", "up", "right"];

export function answer(parts: Partial<ContextAnswer> = {}): ContextAnswer {
  return {
    n_steps: 6,
    observations: packed([0, 2, 0, 1, 1, 1, 0, 2, 1, 2, 2, 2], Int16Array),
    actions: packed([1, 2, 0, 2, 2, 0], Int16Array),
    rewards: packed([0, 0, 1, 0, 0, 0], Float32Array),
    episode: packed([0, 0, 0, 1, 1, 1], Int16Array),
    log_probs: packed(Array(6).fill(PROBABILITIES.map(Math.log)).flat(), Float32Array),
    loss: packed([1, 1, 0.5, 1, 1, 0.5], Float32Array),
    before: null,
    regimes: { names: ["explore", "stay"], step: packed([0, 0, 1, 0, 0, 0], Int16Array) },
    impossible: { "a step that does not follow": [4] },
    returns: [1, 0],
    optimum: 2,
    facts: { goal: [1, 1] },
    world: { kind: "room", width: 3, height: 3, places: { goal: [[1, 1]] } },
    fitting: [],
    edits: [],
    code: "adh.decisions(model, context)",
    headline: "",
    warning: "",
    ...parts,
  };
}
