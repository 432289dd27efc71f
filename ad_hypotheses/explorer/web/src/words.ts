// What things are called on the page.
import type { Context, Edit, ModelView } from "./types.ts";

/** `21.7 (427)`: episode, step in it, and number of the step. */
export function stepName(context: Context, step: number): string {
  const episode = episodeOf(context, step);
  return `${episode}.${step - context.starts[episode]} (${step})`;
}

export function episodeOf(context: Context, step: number): number {
  let episode = 0;
  while (episode + 2 < context.starts.length && context.starts[episode + 1] <= step) episode++;
  return episode;
}

/** What is seen at a step; of many channels, the last and how many there are. */
export function seen(context: Context, model: ModelView, step: number): string {
  const { channels } = model;
  if (!channels.length) return "nothing to see";
  const value = (channel: number) => `${channels[channel]} ${context.observations[step * channels.length + channel]}`;
  if (channels.length > 6) return `${value(channels.length - 1)}, and ${channels.length - 1} more channels`;
  return channels.map((_, channel) => value(channel)).join(", ");
}

export function stepWords(context: Context, model: ModelView, step: number): string {
  const action = context.actions[step];
  const probability = Math.exp(context.logProbs[step * context.nActions + action]);
  const parts = [
    `step ${stepName(context, step)}`,
    seen(context, model, step),
    `does ${model.actions[action]} (probability ${probability.toFixed(2)})`,
    `is paid ${number(context.rewards[step])}`,
    context.regimeNames[context.regime[step]],
    `loss ${context.loss[step].toFixed(2)}`,
  ];
  if (context.impossible.has(step)) parts.push(`impossible: ${context.impossible.get(step)}`);
  return parts.join(" · ");
}

export const number = (value: number): string => (Number.isInteger(value) ? `${value}` : value.toFixed(2));

const THEN = { world: "the world answers", model: "the model goes on", nothing: "only this token" };

export function editWords(edit: Edit): string {
  if (edit.kind === "rearrange") return `episodes in another order (${edit.episodes.length})`;
  if (edit.kind === "counterfactual") return edit.name;
  if (edit.kind === "live") return `from step ${edit.since}: ${edit.who} lives until step ${edit.until}`;
  if (edit.kind === "change_facts") {
    const facts = Object.entries(edit.facts).map(([name, value]) => `${name} ${[value].flat().join(", ")}`);
    return `from step ${edit.step}: ${facts.join("; ")}`;
  }
  const parts = [];
  if (edit.action != null) parts.push(`${edit.action}`);
  if (edit.reward != null) parts.push(`paid ${number(edit.reward)}`);
  if (edit.observation != null) parts.push(`sees ${edit.observation.slice(0, 4).join(", ")}`);
  return `step ${edit.step}: ${parts.join(", ")}; ${THEN[edit.then]}`;
}
