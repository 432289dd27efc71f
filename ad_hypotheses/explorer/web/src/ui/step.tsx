import { useSignal } from "@preact/signals";
import { actionColour } from "../draw/paint.ts";
import { csv } from "../save.ts";
import { act, choose, context, drawnOthers, edit, inspect, learners, model, replaced, scrub, selected, then, withSource } from "../store.ts";
import { number, seen, stepName } from "../words.ts";
import { isCopy } from "../wire.ts";
import { Panel } from "./panel.tsx";

/** What the model does at the selected step, beside what it did before the last change and what others would do. */
export function StepPanel() {
  const current = context.value!;
  const { actions } = model.value!;
  const step = Math.min(selected.value, current.nSteps - 1);
  const probabilities = (logProbs: Float32Array) =>
    actions.map((_, action) => Math.exp(logProbs[step * actions.length + action]));
  const rows: [string, number[]][] = [["model", probabilities(current.logProbs)]];
  const former = current.before?.partner ? "compared with" : "before the last edit";
  if (current.before?.changed) rows.push([former, probabilities(current.before.logProbs)]);
  if (replaced.value) {
    const { parts, by, logProbs } = replaced.value;
    const words = `${parts.length} part${parts.length > 1 ? "s" : ""}`;
    rows.push([by === "difference" ? `there, ${words} as here` : `without ${words}`, probabilities(logProbs)]);
  }
  for (const { name, logProbs } of drawnOthers.value) rows.push([name, probabilities(logProbs)]);
  const scrubbed = scrub.value?.step === step ? scrub.value : null;
  for (let pass = 0; scrubbed && pass < scrubbed.passes; pass++) {
    rows.push([`scrubbed, pass ${pass}`, probabilities(scrubbed.logProbs.subarray(pass * current.nSteps * actions.length))]);
  }
  for (const [name, row] of Object.entries(learners.value?.probabilities ?? {})) rows.push([name, row]);
  const entropy = -rows[0][1].reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
  const impossible = current.impossible.get(step);
  return (
    <Panel
      name="Step"
      help="The decision at the selected step: the distribution of the model, and of those who see the same."
      code={`${current.code}.to_frame().loc[${step}]`}
      data={() => csv(["who", ...actions], rows.map(([name, row]) => [name, ...row]))}
      tools={<GoTo />}
    >
      <p class="where">
        {seen(current, model.value!, step)} · <b>{current.regimeNames[current.regime[step]]}</b> · loss{" "}
        {current.loss[step].toFixed(3)} · entropy {entropy.toFixed(3)} nats
      </p>
      {impossible && <p class="problem">This step could not have been lived: {impossible}.</p>}
      <div class="row" role="group" aria-label="what is done at this step" inert={isCopy}>
        {actions.map((name, action) => (
          <button
            class="action"
            aria-pressed={current.actions[step] === action}
            style={{ borderColor: actionColour(action) }}
            title={current.actions[step] === action ? "is done here" : `do ${name} instead`}
            onClick={() => act(name, false)}
          >
            {name}
          </button>
        ))}
        <Reward step={step} />
      </div>
      <Observation step={step} />
      <table class="bars">
        <thead>
          <tr>
            <th></th>
            {actions.map((name, action) => (
              <th style={{ color: actionColour(action) }}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, row]) => (
            <tr class={name === "model" ? "strong" : ""}>
              <th>{name}</th>
              {row.map((probability, action) => (
                <td>
                  <span class="bar" style={{ width: `${Math.round(100 * probability)}%`, background: actionColour(action) }} />
                  <span class="value">{probability.toFixed(probability < 0.1 ? 3 : 2)}</span>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {Object.entries(learners.value?.absent ?? {}).map(([name, reason]) => (
        <p class="small">
          {name}: {reason}
        </p>
      ))}
      {!withSource.value && !isCopy && (
        <button
          class="quiet"
          title="The algorithm that the model was distilled from, run on this very context; takes some seconds"
          onClick={() => {
            withSource.value = true;
            void inspect();
          }}
        >
          Ask the source too
        </button>
      )}
    </Panel>
  );
}

function Reward({ step }: { step: number }) {
  const { rewards } = model.value!;
  const paid = context.value!.rewards[step];
  const give = (reward: number) => edit({ kind: "edit", step, reward, then: then.value === "model" ? "model" : "nothing" });
  if (rewards.length > 4) {
    return (
      <label>
        paid{" "}
        <select value={`${paid}`} onChange={(event) => give(Number(event.currentTarget.value))}>
          {rewards.map((reward) => (
            <option value={`${reward}`}>{number(reward)}</option>
          ))}
        </select>
      </label>
    );
  }
  return (
    <span class="row" role="group" aria-label="what it is paid">
      paid
      {rewards.map((reward) => (
        <button aria-pressed={Math.abs(paid - reward) < 1e-6} onClick={() => give(reward)}>
          {number(reward)}
        </button>
      ))}
    </span>
  );
}

/** Another observation in this token: a number for each channel. */
function Observation({ step }: { step: number }) {
  const { channels, channel_sizes } = model.value!;
  const values = () => [...context.value!.observations.subarray(step * channels.length, (step + 1) * channels.length)];
  const chosen = useSignal(0);
  if (!channels.length) return null;
  const see = (channel: number, value: number) => {
    const observation = values();
    observation[channel] = value;
    void edit({ kind: "edit", step, observation, then: "nothing" });
  };
  const shown = channels.length <= 6 ? channels.map((_, channel) => channel) : [Math.min(chosen.value, channels.length - 1)];
  return (
    <div class="row" inert={isCopy} title="Only this token changes: an agent is where its world has put it">
      <span>sees</span>
      {channels.length > 6 && (
        <select aria-label="channel" value={`${shown[0]}`} onChange={(event) => (chosen.value = Number(event.currentTarget.value))}>
          {channels.map((name, channel) => (
            <option value={`${channel}`}>{name}</option>
          ))}
        </select>
      )}
      {shown.map((channel) => (
        <label>
          {channels.length <= 6 && channels[channel]}{" "}
          <input
            type="number"
            min={0}
            max={channel_sizes[channel] - 1}
            key={`${step} ${channel} ${values()[channel]}`}
            defaultValue={`${values()[channel]}`}
            onChange={(event) => see(channel, Number(event.currentTarget.value))}
          />
        </label>
      ))}
    </div>
  );
}

function GoTo() {
  const current = context.value!;
  const go = (text: string) => {
    const [episode, within] = text.trim().split(".");
    const step = within === undefined ? Number(episode) : current.starts[Number(episode)] + Number(within);
    if (Number.isInteger(step)) void choose({ step });
  };
  return (
    <label class="goto" title="Episode.step, or the number of a step; key g">
      <button class="quiet" aria-label="step before" title="Alt+←" onClick={() => choose({ step: selected.value - 1 })}>
        ‹
      </button>
      <input
        id="goto"
        key={selected.value}
        defaultValue={stepName(current, Math.min(selected.value, current.nSteps - 1)).split(" ")[0]}
        onChange={(event) => go(event.currentTarget.value)}
      />
      <button class="quiet" aria-label="step after" title="Alt+→" onClick={() => choose({ step: selected.value + 1 })}>
        ›
      </button>
      <span class="small">of {current.nSteps}</span>
    </label>
  );
}
