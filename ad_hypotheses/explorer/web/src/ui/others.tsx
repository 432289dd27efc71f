import { signal } from "@preact/signals";
import { csv } from "../save.ts";
import { choose, drawnOther, drawnOthers, model, others, selected, state } from "../store.ts";
import { post } from "../transport.ts";
import { isCopy } from "../wire.ts";
import { Panel, say } from "./panel.tsx";

const alike = signal<{ of: string; models: string[]; stages: string[] } | null>(null);

/** The same context through other models of the same tasks, and through the stages of the training of this one. */
export function OthersPanel() {
  const chosen = state.value!.others;
  const shown = others.value;
  const { name } = state.value!.model;
  const known = alike.value?.of === name ? alike.value : null;
  const list = async () => {
    const listed = await post<{ models: string[]; stages: string[] }>("alike", { name }).catch((error) => {
      say(error.message);
      return null;
    });
    if (listed) alike.value = { of: name, ...listed };
  };
  const add = (names: string[]) => choose({ others: [...chosen, ...names.filter((other) => !chosen.includes(other) && other !== name)] });
  const table = () => csv(["model", "nats_here", "nats_mean"], chosen.filter((other) => shown?.models[other]).map((other) => [other, ...away(other)]));
  return (
    <Panel
      name="Models"
      help="The same context, read by other models of the same tasks, or by this one as it was on the way of its training: what they do at the selected step stands in Step, and how far each is from this one at every step on the line. Of many, the one that is chosen is drawn."
      code={shown?.code}
      data={chosen.length ? table : undefined}
      tools={
        isCopy ? undefined : known === null ? (
          <button onClick={list}>Compare with other models</button>
        ) : (
          <span class="row">
            <select
              aria-label="another model"
              value=""
              onChange={(event) => {
                const added = event.currentTarget.value;
                event.currentTarget.value = "";
                if (added) void add(added === "all" ? known.models : [added]);
              }}
            >
              <option value="">{known.models.length ? "add a model" : "there is no other of these tasks"}</option>
              {known.models.length > 1 && <option value="all">all {known.models.length}</option>}
              {known.models.map((other) => (
                <option value={other}>{other}</option>
              ))}
            </select>
            {known.stages.length > 0 && (
              <button title="This model as it was after fewer updates" onClick={() => add(known.stages)}>
                Stages of its training
              </button>
            )}
            {chosen.length > 1 && <button onClick={() => choose({ others: [] })}>None</button>}
          </span>
        )
      }
    >
      {!chosen.length && <p class="small">Choose a model to see where it decides otherwise in this context.</p>}
      <Training />
      {chosen.length > 0 && (
        <table class="parts others">
          <thead>
            <tr>
              <th>nats from {model.value!.name}</th>
              <td class="value">here</td>
              <td class="value">mean</td>
              <td></td>
            </tr>
          </thead>
          <tbody>
            {chosen.map((other) => (
              <Other key={other} name={other} />
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

/** How far another model is from this one, in nats: at the selected step, and on average. */
function away(name: string): [number, number] {
  const { divergence } = others.value!.models[name];
  return [divergence[Math.min(selected.value, divergence.length - 1)], divergence.reduce((sum, value) => sum + value, 0) / divergence.length];
}

function Other({ name }: { name: string }) {
  const shown = others.value;
  const chosen = state.value!.others;
  const reason = shown?.absent[name];
  const [here, mean] = shown?.models[name] ? away(name) : [null, null];
  const drawn = drawnOthers.value.some((other) => other.name === name);
  return (
    <tr class={drawn ? "chosen" : ""}>
      <th>
        <button class="quiet" aria-pressed={drawn} title="draw this one" onClick={() => (drawnOther.value = name)}>
          {name}
        </button>
      </th>
      {reason ? (
        <td colSpan={2} class="problem">
          {reason}
        </td>
      ) : (
        <>
          <td class="value">{here === null ? "…" : here.toFixed(3)}</td>
          <td class="value">{mean === null ? "…" : mean.toFixed(3)}</td>
        </>
      )}
      <td>
        <button class="quiet" disabled={isCopy} aria-label={`remove ${name}`} onClick={() => choose({ others: chosen.filter((kept) => kept !== name) })}>
          ✕
        </button>
      </td>
    </tr>
  );
}

/** A slider over the training, where stages of it are among the models. */
function Training() {
  const stages = state.value!.others.filter((name) => /@\d+$/.test(name));
  if (stages.length < 2) return null;
  const at = Math.max(0, stages.indexOf(drawnOther.value ?? ""));
  return (
    <label class="training">
      after {stages[at].split("@")[1]} updates
      <input
        type="range"
        aria-label="stage of the training"
        min={0}
        max={stages.length - 1}
        value={at}
        onInput={(event) => (drawnOther.value = stages[Number(event.currentTarget.value)])}
      />
    </label>
  );
}
