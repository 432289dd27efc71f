import { csv } from "../save.ts";
import {
  ablating,
  ablations,
  carriers,
  choose,
  context,
  differsAt,
  inspect,
  look,
  model,
  replaced,
  selected,
  state,
  togglePart,
  withEdges,
} from "../store.ts";
import type { Look } from "../types.ts";
import { stepName } from "../words.ts";
import { attentionOf } from "./context.tsx";
import { isCopy } from "../wire.ts";
import { Panel, copy } from "./panel.tsx";

const STRONGEST = 8; // steps
const LARGEST = 16; // writers

/** What is attributed, and to which writers: the parts sum to it. */
export function AttributionPanel() {
  const shown = look.value;
  if (!shown) return <Waiting name="Attribution" />;
  const { of, logit, parts, remainder } = shown.attribution;
  const sorted = bySize(parts);
  const drawn = sorted.length > LARGEST + 2 ? sorted.slice(0, LARGEST) : sorted;
  const rest = sorted.slice(drawn.length);
  const lines: [string, number][] = [...drawn];
  if (rest.length) lines.push([`the other ${rest.length}`, rest.reduce((sum, [, value]) => sum + value, 0)]);
  return (
    <Panel
      name="Attribution"
      help="What every writer adds to the logit that is asked about, at the selected step. The parts sum to it; what a head writes for later parts to read shows in those."
      code={shown.attribution_code}
      data={() => csv(["writer", "adds"], sorted)}
      tools={<Asked />}
    >
      <table class="parts">
        <Bars lines={lines} />
        <tfoot>
          <tr>
            <th>sum</th>
            <td class="small">
              logit of {of} = {logit.toFixed(4)}; the parts leave {remainder.toExponential(1)}
            </td>
            <td class="value">{signed(logit)}</td>
          </tr>
        </tfoot>
      </table>
    </Panel>
  );
}

const bySize = (parts: Record<string, number>): [string, number][] =>
  Object.entries(parts).sort(([, first], [, second]) => Math.abs(second) - Math.abs(first));

interface BarsProps {
  lines: [string, number][];
  chosen?: string[];
  toggle?: (name: string) => void;
}

/** A line for each part; where parts can be chosen, a click does so. */
function Bars({ lines, chosen, toggle }: BarsProps) {
  const most = Math.max(1e-9, ...lines.map(([, value]) => Math.abs(value)));
  return (
    <tbody>
      {lines.map(([name, value]) => (
        <tr class={chosen?.includes(name) ? "chosen" : ""}>
          <th>
            {toggle ? (
              <button class="quiet" aria-pressed={chosen?.includes(name)} onClick={() => toggle(name)}>
                {name}
              </button>
            ) : (
              name
            )}
          </th>
          <td>
            <span class="half">{value < 0 && <Part share={value / most} />}</span>
            <span class="half">{value >= 0 && <Part share={value / most} />}</span>
          </td>
          <td class="value">{signed(value)}</td>
        </tr>
      ))}
    </tbody>
  );
}

interface PartTablesProps {
  writers: [string, number][];
  edges: [string, number][];
  chosen?: string[];
  toggle?: (name: string) => void;
}

/** The strongest of all writers, and of all edges where those were asked about. */
function PartTables({ writers, edges, chosen, toggle }: PartTablesProps) {
  return (
    <>
      <table class="parts">
        <Bars lines={writers.slice(0, MOST_CARRIERS)} chosen={chosen} toggle={toggle} />
      </table>
      {edges.length > 0 && (
        <table class="parts wide">
          <caption class="small">the strongest of {edges.length} edges</caption>
          <Bars lines={edges.slice(0, MOST_CARRIERS)} chosen={chosen} toggle={toggle} />
        </table>
      )}
    </>
  );
}

/** What the chosen parts do together, beside what each does alone. */
function Together({ plain, effects, of }: { plain: number; effects: Record<string, number>; of: string }) {
  const shown = replaced.value;
  if (!shown) return null;
  const { actions } = model.value!;
  const step = selected.value;
  const logProb = (name: string) => shown.logProbs[step * actions.length + actions.indexOf(name)];
  const [first, second] = of.split(" - ");
  const value = second ? logProb(first) - logProb(second) : logProb(first);
  const known = shown.parts.filter((part) => part in effects);
  const alone = known.reduce((total, part) => total + effects[part], 0);
  return (
    <p class="where">
      {shown.parts.join(", ")}: together <b>{signed(value - plain)}</b>
      {known.length === shown.parts.length && known.length > 1 && <>, while their own changes sum to {signed(alone)}</>}{" "}
      <button class="quiet" title={shown.code} onClick={() => copy(shown.code, "copied")}>
        Python
      </button>
      <button class="quiet" onClick={() => choose({ replaced: { ...state.value!.replaced, parts: [] } })}>
        Clear
      </button>
    </p>
  );
}

const ALL_BY = { zero: "nothing", mean: "their mean", difference: "" };

/** What every part does here, by taking it out; chosen parts are taken out together, at all steps. */
export function AblationPanel() {
  const { parts, by, rows } = state.value!.replaced;
  const shown = ablating.value ? ablations.value : null;
  const way = by === "difference" ? "zero" : by;
  const ask = (next: "zero" | "mean") => {
    ablating.value = true;
    void choose({ replaced: { parts: by === "difference" ? [] : parts, by: next, rows } });
  };
  const writers = bySize(shown?.writers ?? {});
  const edges = bySize(shown?.edges ?? {});
  const chosen = by === "difference" ? [] : parts;
  const toggle = (name: string) => void togglePart(name, way);
  return (
    <Panel
      name="Ablation"
      help="What changes at the selected step if one part alone is replaced, at all steps, for all who read it or along one edge, and what follows from it flows on. A click takes a part out, so that its row stands in Step and on the line; several add up."
      code={shown?.code}
      data={shown ? () => csv(["part", "change"], [...writers, ...edges]) : undefined}
      tools={
        <span class="row">
          by
          <select aria-label="what parts are replaced by" value={way} onChange={(event) => ask(event.currentTarget.value as "zero" | "mean")}>
            <option value="zero">nothing</option>
            <option value="mean">their mean over {rows} histories</option>
          </select>
          {!ablating.value && <button onClick={() => ask(way)}>Ask</button>}
          {shown && !edges.length && <EveryEdge />}
        </span>
      }
    >
      {!ablating.value && <p class="small">What every part does here if it is taken out.</p>}
      {ablating.value && !shown && <p class="small">taking parts out, one by one</p>}
      {shown && (
        <>
          <p class="where">
            log-probability of {shown.of}: <b>{shown.value.toFixed(3)}</b>; a part replaced by {ALL_BY[way]} changes it by
          </p>
          {by !== "difference" && <Together plain={shown.value} effects={{ ...shown.writers, ...shown.edges }} of={shown.of} />}
          <PartTables writers={writers} edges={edges} chosen={chosen} toggle={toggle} />
        </>
      )}
    </Panel>
  );
}

function EveryEdge() {
  return (
    <button
      title="Patch every edge, too, exactly; takes a second or more"
      onClick={() => {
        withEdges.value = true;
        void inspect();
      }}
    >
      Every edge too
    </button>
  );
}

const MOST_CARRIERS = 10;

/** Which parts carry what the last edit changes here: each alone as after it, while the model reads the context before it. */
export function DifferencePanel() {
  const shown = carriers.value;
  if (!context.value!.before?.changed) return null;
  const { partner } = context.value!.before;
  const { parts, by } = state.value!.replaced;
  const chosen = by === "difference" ? parts : [];
  const toggle = (name: string) => void togglePart(name, "difference");
  if (!shown) {
    return (
      <section class="panel" id="difference">
        <header>
          <h2>Difference</h2>
        </header>
        <p class="small">
          {differsAt(selected.value)
            ? "asking what carries the difference"
            : `${partner ? "The two contexts do not differ in" : "The last edit changes nothing of"} what the model does at this step; choose one where the line shows a change.`}
        </p>
      </section>
    );
  }
  const writers = bySize(shown.writers);
  const edges = bySize(shown.edges);
  return (
    <Panel
      name="Difference"
      help="What differs at the selected step from before the last edit, or from the context that is compared with, and which parts carry it: each alone writes as here, while the model reads the other context. They need not sum to the whole, as parts read each other. A click patches a part; several add up."
      code={shown.code}
      data={() => csv(["part", "change"], [...writers, ...edges])}
      tools={!withEdges.value && !isCopy && <EveryEdge />}
    >
      <p class="where">
        log-probability of {shown.of}: {shown.before.toFixed(3)} {partner ? "there" : "before the last edit"}, <b>{shown.after.toFixed(3)}</b>{" "}
        {partner ? "here" : "now"}
      </p>
      {by === "difference" && <Together plain={shown.before} effects={{ ...shown.writers, ...shown.edges }} of={shown.of} />}
      <PartTables writers={writers} edges={edges} chosen={chosen} toggle={toggle} />
    </Panel>
  );
}

function Part({ share }: { share: number }) {
  return <span class={share < 0 ? "part minus" : "part plus"} style={{ width: `${Math.round(100 * Math.abs(share))}%` }} />;
}

const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** What is asked: the logit of an action, or the difference of two. */
function Asked() {
  const { actions } = model.value!;
  const [first, second] = (state.value!.of ?? "").split(" - ");
  const ask = (plus: string, minus: string) => choose({ of: plus ? (minus && minus !== plus ? `${plus} - ${minus}` : plus) : null });
  return (
    <span class="row" inert={isCopy}>
      of
      <select aria-label="logit that is asked about" value={first ?? ""} onChange={(event) => ask(event.currentTarget.value, second ?? "")}>
        <option value="">what was done</option>
        {actions.map((name) => (
          <option value={name}>{name}</option>
        ))}
      </select>
      {first && (
        <>
          minus
          <select aria-label="logit that is subtracted" value={second ?? ""} onChange={(event) => ask(first, event.currentTarget.value)}>
            <option value="">nothing</option>
            {actions
              .filter((name) => name !== first)
              .map((name) => (
                <option value={name}>{name}</option>
              ))}
          </select>
        </>
      )}
    </span>
  );
}

/** Where the heads look from the selected step: shares by role, and the steps that get most. */
export function AttentionPanel() {
  const shown = look.value;
  if (!shown) return <Waiting name="Attention" />;
  const roles = Object.keys(shown.shares);
  const chosen = state.value!.head;
  return (
    <Panel
      name="Attention"
      help="How much of its attention each head pays to steps of each role. A row chooses the head that is drawn on the rooms and on the strip; none means the mean of all."
      code={shown.attention_code}
      data={() => attentionTable(shown)}
      tools={
        <span class="row">
          <select aria-label="head that is drawn" value={chosen ?? ""} onChange={(event) => choose({ head: event.currentTarget.value || null })}>
            <option value="">mean of heads</option>
            {shown.heads.map((head) => (
              <option value={head}>{head}</option>
            ))}
          </select>
          <select
            aria-label="which way attention is drawn"
            disabled={isCopy}
            title="where the selected step looks, or which later steps look at it"
            value={state.value!.received ? "got" : "paid"}
            onChange={(event) => choose({ received: event.currentTarget.value === "got" })}
          >
            <option value="paid">from here</option>
            <option value="got">to here</option>
          </select>
        </span>
      }
    >
      <table class="roles">
        <thead>
          <tr>
            <th></th>
            {roles.map((role) => (
              <th title={role}>{role.replaceAll("_", " ")}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.heads.map((head) => (
            <tr
              class={head === chosen ? "chosen" : ""}
              onClick={() => choose({ head: head === chosen ? null : head })}
            >
              <th>
                <button class="quiet" aria-pressed={head === chosen}>
                  {head}
                </button>
              </th>
              {roles.map((role) => {
                const share = shown.shares[role][head];
                return (
                  <td style={{ background: `color-mix(in srgb, var(--attention) ${Math.round(90 * Math.min(share, 1))}%, transparent)` }}>
                    {share.toFixed(2)}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <Strongest shown={shown} />
    </Panel>
  );
}

function attentionTable(shown: Look): string {
  const steps = shown.tokens.length;
  const lines = shown.tokens.map((token, step) => [
    step,
    token,
    shown.roles[step].join(" "),
    ...shown.heads.map((_, head) => shown.weights[head * steps + step]),
  ]);
  return csv(["step", "token", "roles", ...shown.heads], lines);
}

function Strongest({ shown }: { shown: Look }) {
  const weights = attentionOf();
  const current = context.value!;
  if (!weights) return null;
  const steps = [...weights.keys()].sort((first, second) => weights[second] - weights[first]).slice(0, STRONGEST);
  return (
    <table class="strongest">
      <tbody>
        {steps.map((step) => (
          <tr onClick={() => choose({ step })}>
            <td class="value">{weights[step].toFixed(3)}</td>
            <th>
              <button class="quiet" title="select this step">
                {step < current.nSteps ? stepName(current, step) : step}
              </button>
            </th>
            <td title={shown.tokens[step]}>{short(shown.tokens[step])}</td>
            <td class="small">{shown.roles[step].map((role) => role.replaceAll("_", " ")).join(", ")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function short(token: string): string {
  const parts = token.split(" ");
  return parts.length > 6 ? `${parts.slice(-3).join(" ")}` : token;
}

function Waiting({ name }: { name: string }) {
  return (
    <section class="panel">
      <header>
        <h2>{name}</h2>
      </header>
      <p class="small">{isCopy ? "not in this copy at this step" : `asking about step ${selected.value}`}</p>
    </section>
  );
}
