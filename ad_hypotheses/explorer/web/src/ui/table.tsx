import { signal } from "@preact/signals";
import { choose, context, model, selected } from "../store.ts";
import { episodeOf, number } from "../words.ts";

export const showingTable = signal(false); // beside the pictures; of worlds that have none, it is always there
const MOST_CHANNELS = 8;

/** The episode of the selected step in words and numbers: what the pictures show, for who reads rather than looks. */
export function EpisodeTable() {
  const current = context.value!;
  const { channels, actions } = model.value!;
  if (!showingTable.value && current.world.kind !== "table") return null;
  const episode = episodeOf(current, selected.value);
  const [first, stop] = [current.starts[episode], current.starts[episode + 1]];
  const shown = channels.map((_, channel) => channel).filter((channel) => channels.length <= MOST_CHANNELS || differs(channel));

  /** Whether a channel changes within the episode. */
  function differs(channel: number): boolean {
    const at = (step: number) => current.observations[step * channels.length + channel];
    for (let step = first + 1; step < stop; step++) if (at(step) !== at(first)) return true;
    return false;
  }

  return (
    <div class="scrolled">
      <table class="steps">
        <caption>Episode {episode}</caption>
        <thead>
          <tr>
            <th>step</th>
            {shown.slice(0, MOST_CHANNELS).map((channel) => (
              <th>{channels[channel]}</th>
            ))}
            <th>does</th>
            <th>is paid</th>
            <th>probability of it</th>
            <th>loss</th>
            <th>about</th>
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: stop - first }, (_, within) => first + within).map((step) => (
            <tr class={step === selected.value ? "chosen" : ""} onClick={() => choose({ step })}>
              <th>
                <button class="quiet" aria-pressed={step === selected.value}>
                  {episode}.{step - first}
                </button>
              </th>
              {shown.slice(0, MOST_CHANNELS).map((channel) => (
                <td>{current.observations[step * channels.length + channel]}</td>
              ))}
              <td>{actions[current.actions[step]]}</td>
              <td>{number(current.rewards[step])}</td>
              <td>{Math.exp(current.logProbs[step * actions.length + current.actions[step]]).toFixed(3)}</td>
              <td>{current.loss[step].toFixed(3)}</td>
              <td>
                {current.regimeNames[current.regime[step]]}
                {current.impossible.has(step) && <b> impossible: {current.impossible.get(step)}</b>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
