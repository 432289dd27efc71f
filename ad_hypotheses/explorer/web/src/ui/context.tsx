import { useComputed, useSignal } from "@preact/signals";
import { type Hit, type Picture, drawView, episodesPicture } from "../draw/episodes.ts";
import { drawCurve } from "../draw/curve.ts";
import { type Divergence, type Strip, stripPicture } from "../draw/strip.ts";
import { csv } from "../save.ts";
import {
  canRedo,
  canUndo,
  change,
  choose,
  context,
  drawnOthers,
  dropPartner,
  edit,
  exchange,
  hovered,
  look,
  model,
  notePainted,
  pinPartner,
  placing,
  problem,
  ran,
  rearrange,
  redo,
  removeEdit,
  replaced,
  rivals,
  scrub,
  selected,
  state,
  then,
  toggleEdit,
  undo,
  zoom,
} from "../store.ts";
import type { Context, Then } from "../types.ts";
import { editWords, episodeOf, stepWords } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { Panel, copy } from "./panel.tsx";
import { isCopy } from "../wire.ts";
import { EpisodeTable } from "./table.tsx";

export function attentionOf(): Float32Array | null {
  const shown = look.value;
  if (!shown) return null;
  const steps = shown.weights.length / shown.heads.length;
  const head = state.value?.head ? shown.heads.indexOf(state.value.head) : -1;
  if (head >= 0) return shown.weights.subarray(head * steps, (head + 1) * steps);
  const mean = new Float32Array(steps);
  for (let at = 0; at < shown.weights.length; at++) mean[at % steps] += shown.weights[at] / shown.heads.length;
  return mean;
}

/** The picture of the episodes, made again only when the context or the place for it changes. */
function cached<Shown>(make: (context: Context, width: number, more: string) => Shown): (width: number, more?: string) => Shown {
  let made: { of: Context; width: number; more: string; shown: Shown } | null = null;
  return (width, more = "") => {
    const of = context.value!;
    if (made?.of !== of || made.width !== width || made.more !== more) made = { of, width, more, shown: make(of, width, more) };
    return made.shown;
  };
}

const EPISODES_HEIGHT = 330;
const episodes: (width: number) => Picture = cached((shown, width) => episodesPicture(shown, width, EPISODES_HEIGHT));
const anyStrip = cached((shown, width, more) => stripPicture(shown, width, model.value!.actions, more ? more.split("\n") : []));
const strip = (width: number): Strip => anyStrip(width, lanes().map(({ name }) => name).join("\n"));

/** What else is drawn below the loss: how far something moves the model at every step. */
function lanes(): Divergence[] {
  const shown: Divergence[] = [];
  if (state.value?.replaced.parts.length) shown.push({ name: "replaced", values: replaced.value?.divergence ?? null });
  const claim = state.value?.claim;
  if (claim && ran.value.has(claim.file)) shown.push({ name: "scrubbed", values: scrub.value?.divergence ?? null });
  for (const { name, divergence } of drawnOthers.value) shown.push({ name, values: divergence });
  if (rivals.value) {
    const { claim, rival, klClaim, klRival } = rivals.value;
    const there = (values: Float32Array) => values.map((value) => (Number.isNaN(value) ? 0 : value));
    shown.push({ name: `only ${claim}`, values: there(klClaim) }, { name: `only ${rival}`, values: there(klRival) });
  }
  return shown;
}

export function ContextPanel() {
  const current = context.value!;
  const weights = useComputed(attentionOf);
  const table = () => {
    const { actions, channels } = model.value!;
    const lines = [...current.actions.keys()].map((step) => [
      step,
      current.episode[step],
      ...channels.map((_, channel) => current.observations[step * channels.length + channel]),
      actions[current.actions[step]],
      current.rewards[step],
      current.loss[step],
      current.regimeNames[current.regime[step]],
      ...actions.map((_, action) => Math.exp(current.logProbs[step * actions.length + action])),
    ]);
    return csv(["step", "episode", ...channels, "action", "reward", "loss", "regime", ...actions], lines);
  };
  const grid = current.world.kind === "grid";
  return (
    <Panel
      name="Context"
      help="The whole history as the model reads it. An action belongs to the step that takes it; it and its reward are seen one step later."
      code={current.code}
      data={table}
      tools={<EditTools />}
    >
      {problem.value && (
        <p class="problem" role="alert">
          {problem.value}
          <button class="quiet" onClick={() => (problem.value = "")}>
            Close
          </button>
        </p>
      )}
      {state.value!.notes && <p class="small notes-shown">{state.value!.notes}</p>}
      {current.warning && <p class="problem">{current.warning}</p>}
      <div class={grid ? "with-view" : ""}>
        <div>
          <Canvas
            label={`${current.starts.length - 1} episodes of ${model.value!.name}`}
            cursor="pointer"
            height={(width) => episodes(width).height}
            draw={(pen, paint, width) => {
              const looks = { selected: selected.value, hovered: hovered.value, weights: weights.value };
              episodes(width).draw(pen, paint, { ...looks, actionNames: model.value!.actions });
              notePainted();
            }}
            onClick={(place, event, width) => clicked(episodes(width).hit(place.x, place.y), event)}
            onMove={(place, width) => (hovered.value = place ? (episodes(width).hit(place.x, place.y)?.step ?? null) : null)}
          />
        </div>
        {grid && (
          <div class="view">
            <Canvas
              label="what the agent sees at the selected step"
              height={(width) => width}
              draw={(pen, paint, width) => drawView(pen, paint, context.value!, selected.value, width)}
            />
            <small>what the agent sees</small>
          </div>
        )}
      </div>
      {current.before?.partner && <PartnerPicture />}
      <p class="hovered" aria-live="off">
        {stepWords(current, model.value!, Math.min(hovered.value ?? selected.value, current.nSteps - 1))}
      </p>
      <StripCanvas weights={weights} />
      {current.returns.length > 1 && (
        <div>
          <Canvas
            label="return of every episode"
            height={() => 92}
            draw={(pen, paint, width, height) =>
              drawCurve(pen, paint, width, height, context.value!, model.value!.curves, episodeOf(context.value!, selected.value))
            }
            onClick={({ x }, _, width) => {
              const last = Math.max(1, context.value!.returns.length - 1, ...Object.values(model.value!.curves).map((curve) => curve.length - 1));
              const episode = Math.round(((x - 34) / (width - 42)) * last);
              if (episode >= 0 && episode < context.value!.returns.length) void choose({ step: context.value!.starts[episode] });
            }}
          />
        </div>
      )}
      <EpisodeTable />
      <Edits />
    </Panel>
  );
}

/** The context that this one is compared with, step beside step. */
function PartnerPicture() {
  const partner = context.value!.before!.partner!;
  const picture = (width: number) => episodesPicture(partner, width, 200);
  const same = partner.nSteps === context.value!.nSteps;
  return (
    <div class="partner">
      <p class="small">
        compared with{same ? "" : `, which has ${partner.nSteps} steps, so that only pictures can be compared`}
        <button class="quiet" onClick={exchange}>
          Change places
        </button>
        <button class="quiet" onClick={dropPartner}>
          Compare with the last edit again
        </button>
      </p>
      <Canvas
        label="the context that this one is compared with"
        cursor="pointer"
        height={(width) => picture(width).height}
        draw={(pen, paint, width) => {
          const looks = { selected: selected.value, hovered: hovered.value, weights: null, actionNames: model.value!.actions };
          picture(width).draw(pen, paint, looks);
        }}
        onClick={({ x, y }, _, width) => {
          const hit = picture(width).hit(x, y);
          if (hit) void choose({ step: hit.step ?? partner.starts[hit.episode] });
        }}
        onMove={(place, width) => (hovered.value = place ? (picture(width).hit(place.x, place.y)?.step ?? null) : null)}
      />
    </div>
  );
}

function clicked(hit: Hit | null, event: PointerEvent): void {
  if (!hit) return;
  const current = context.value!;
  const { world } = current;
  if (placing.value) {
    if (hit.cell) void move(placing.value, hit);
    return;
  }
  if (event.shiftKey && hit.cell && (world.kind === "room" || world.kind === "graph")) {
    void edit({ kind: "edit", step: selected.value, observation: hit.cell, then: "nothing" });
    return;
  }
  void choose({ step: hit.step ?? current.starts[hit.episode] });
}

async function move(fact: string, hit: Hit): Promise<void> {
  const { starts, world } = context.value!;
  placing.value = null;
  const place = world.kind === "graph" ? hit.cell![0] : hit.cell!;
  await edit({ kind: "change_facts", step: starts[hit.episode], facts: { [fact]: place } });
}

function StripCanvas({ weights }: { weights: { value: Float32Array | null } }) {
  const drag = useSignal<[number, number] | null>(null);
  const shown = (): [number, number] => zoom.value ?? [0, context.value!.nSteps];
  return (
    <div>
      <Canvas
        label="all steps on one line: probabilities, what was done, rewards, loss"
        cursor="crosshair"
        height={(width) => strip(width).height}
        draw={(pen, paint, width) =>
          strip(width).draw(pen, paint, {
            selected: selected.value,
            hovered: hovered.value,
            shown: shown(),
            drag: drag.value,
            weights: weights.value,
            lanes: lanes(),
            attentionName: state.value?.head ?? "attention",
            actionNames: model.value!.actions,
          })
        }
        onDown={({ x }, width) => {
          const step = strip(width).stepAt(x, shown());
          drag.value = [step, step];
        }}
        onMove={(place, width) => {
          if (!place) {
            hovered.value = drag.value = null;
            return;
          }
          const step = strip(width).stepAt(place.x, shown());
          hovered.value = step;
          if (drag.value) drag.value = [drag.value[0], step];
        }}
        onUp={({ x }, width) => {
          const [from, to] = drag.value ?? [0, 0];
          drag.value = null;
          if (Math.abs(to - from) > 3) zoom.value = [Math.min(from, to), Math.max(from, to) + 1];
          else void choose({ step: strip(width).stepAt(x, shown()) });
        }}
        onReset={() => (zoom.value = null)}
      />
      {zoom.value && (
        <button class="quiet" onClick={() => (zoom.value = null)}>
          Show all steps ({zoom.value[0]} to {zoom.value[1] - 1} are shown)
        </button>
      )}
    </div>
  );
}

const MEANINGS: [Then, string, string][] = [
  ["world", "the world answers", "Later actions of the episode are kept; what is seen and paid follows from them"],
  ["model", "the model goes on", "From this step on the model lives, to the end of the context"],
  ["nothing", "only this token", "Nothing else changes, possible or not"],
];

function EditTools() {
  return (
    <span class="edit-tools" inert={isCopy}>
      <span class="switch" role="radiogroup" aria-label="what follows an edit">
        {MEANINGS.map(([value, words, help]) => (
          <button role="radio" aria-checked={then.value === value} title={help} onClick={() => (then.value = value)}>
            {words}
          </button>
        ))}
      </span>
      <button disabled={!canUndo.value} title="u" onClick={undo}>
        Undo
      </button>
      <button disabled={!canRedo.value} title="Shift+u" onClick={redo}>
        Redo
      </button>
    </span>
  );
}

/** A permutation of the episodes, another one for each number. */
function shuffled(count: number, seed: number): number[] {
  const order = [...Array(count).keys()];
  let value = seed * 2654435761 + 12345;
  for (let place = count - 1; place > 0; place--) {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    const other = value % (place + 1);
    [order[place], order[other]] = [order[other], order[place]];
  }
  return order;
}

function Edits() {
  const current = context.value!;
  const { edits } = state.value!;
  const count = current.starts.length - 1;
  const episode = episodeOf(current, selected.value);
  const order = [...Array(count).keys()];
  const moved = current.world.kind === "room" ? Object.keys(current.world.places) : current.world.kind === "graph" ? ["goal"] : [];
  const without = order.filter((number) => number !== episode);
  const swapped = [...order];
  if (episode > 0) [swapped[episode - 1], swapped[episode]] = [episode, episode - 1];
  return (
    <div class="edits" inert={isCopy}>
      <div class="row">
        <button title="Keep the context as it is now beside what it becomes; key p" onClick={pinPartner}>
          Compare
        </button>
        {count > 1 && (
          <>
            <span>Episode {episode}:</span>
            <button onClick={() => rearrange(without, current.starts[Math.max(0, episode - 1)])}>Drop</button>
            <button
              disabled={current.nSteps + model.value!.horizon > model.value!.n_ctx}
              title={current.nSteps + model.value!.horizon > model.value!.n_ctx ? "The context is full; drop an episode first" : ""}
              onClick={() => rearrange([...order.slice(0, episode + 1), ...order.slice(episode)], selected.value)}
            >
              Repeat
            </button>
            <button disabled={episode === 0} onClick={() => rearrange(swapped, current.starts[Math.max(0, episode - 1)])}>
              Swap with the one before
            </button>
            <button onClick={() => rearrange(shuffled(count, edits.length + 1), selected.value)}>Shuffle all</button>
            <button disabled={episode + 1 === count} onClick={() => rearrange(order.slice(0, episode + 1), selected.value)}>
              Drop all after it
            </button>
          </>
        )}
        {moved.map((fact) => (
          <button aria-pressed={placing.value === fact} onClick={() => (placing.value = placing.value === fact ? null : fact)}>
            {placing.value === fact ? `Click the new ${fact}` : `Move the ${fact}`}
          </button>
        ))}
        {current.fitting.length > 0 && (
          <select
            aria-label="change by a counterfactual of the library"
            value=""
            onChange={(event) => {
              const name = event.currentTarget.value;
              event.currentTarget.value = "";
              if (name) void edit({ kind: "counterfactual", name, seed: edits.length });
            }}
          >
            <option value="">Change by…</option>
            {current.fitting.map((name) => (
              <option value={name} title={model.value!.counterfactuals[name]}>
                {name}
              </option>
            ))}
          </select>
        )}
      </div>
      {current.world.kind === "arms" && current.world.means && <Means means={current.world.means} />}
      {edits.length > 0 && (
        <ol aria-label="edits">
          {edits.map((edit, place) => (
            <li class={edit.off ? "off" : ""}>
              <label>
                <input type="checkbox" checked={!edit.off} onChange={() => toggleEdit(place)} /> {editWords(edit)}
              </label>
              <button class="quiet" aria-label={`remove edit ${place + 1}`} onClick={() => removeEdit(place)}>
                ✕
              </button>
            </li>
          ))}
          <li>
            <button class="quiet" onClick={() => change({ edits: [] })}>
              Remove all
            </button>
            <button class="quiet" onClick={() => copy(current.edits.map((text) => `context = ${text}`).join("\n"), "copied")}>
              Copy as Python
            </button>
          </li>
        </ol>
      )}
    </div>
  );
}

/** What the arms pay on average; another number holds from the selected step on. */
function Means({ means }: { means: number[] }) {
  const step = selected.value;
  return (
    <div class="row" title="The model cannot see what arms pay on average. Another number holds from the selected step on">
      <span>from step {step} on, arms pay on average</span>
      {means.map((mean, arm) => (
        <label>
          {arm}{" "}
          <input
            type="number"
            step={0.05}
            key={`${arm} ${mean}`}
            defaultValue={`${Number(mean.toFixed(3))}`}
            onChange={(event) => {
              const changed = means.map((kept, place) => (place === arm ? Number(event.currentTarget.value) : kept));
              void edit({ kind: "change_facts", step, facts: { means: changed } });
            }}
          />
        </label>
      ))}
    </div>
  );
}
