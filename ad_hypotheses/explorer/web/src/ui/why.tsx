import { csv } from "../save.ts";
import { carriers, choose, context, differsAt, inspect, look, model, selected, state, withEdges } from "../store.ts";
import type { Look } from "../types.ts";
import { stepName } from "../words.ts";
import { attentionOf } from "./context.tsx";
import { Panel } from "./panel.tsx";

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

function Bars({ lines }: { lines: [string, number][] }) {
  const most = Math.max(1e-9, ...lines.map(([, value]) => Math.abs(value)));
  return (
    <tbody>
      {lines.map(([name, value]) => (
        <tr>
          <th>{name}</th>
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

const MOST_CARRIERS = 10;

/** Which parts carry what the last edit changes here: each alone as after it, while the model reads the context before it. */
export function DifferencePanel() {
  const shown = carriers.value;
  if (!context.value!.before?.changed) return null;
  if (!shown) {
    return (
      <section class="panel" id="difference">
        <header>
          <h2>Difference</h2>
        </header>
        <p class="small">
          {differsAt(selected.value)
            ? "asking what carries the difference"
            : "The last edit changes nothing of what the model does at this step; choose one where the line shows a change."}
        </p>
      </section>
    );
  }
  const writers = bySize(shown.writers);
  const edges = bySize(shown.edges);
  return (
    <Panel
      name="Difference"
      help="What the last edit changes at the selected step, and which parts carry it: each alone writes as after the edit, while the model reads the context before it. They need not sum to the whole, as parts read each other."
      code={shown.code}
      data={() => csv(["part", "change"], [...writers, ...edges])}
      tools={
        !withEdges.value && (
          <button
            title="Patch every edge, too, exactly; takes a second or more"
            onClick={() => {
              withEdges.value = true;
              void inspect();
            }}
          >
            Every edge too
          </button>
        )
      }
    >
      <p class="where">
        log-probability of {shown.of}: {shown.before.toFixed(3)} before the last edit, <b>{shown.after.toFixed(3)}</b> now
      </p>
      <table class="parts">
        <Bars lines={writers.slice(0, MOST_CARRIERS)} />
      </table>
      {edges.length > 0 && (
        <table class="parts wide">
          <caption class="small">the strongest of {edges.length} edges</caption>
          <Bars lines={edges.slice(0, MOST_CARRIERS)} />
        </table>
      )}
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
    <span class="row">
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
        <select aria-label="head that is drawn" value={chosen ?? ""} onChange={(event) => choose({ head: event.currentTarget.value || null })}>
          <option value="">mean of all heads</option>
          {shown.heads.map((head) => (
            <option value={head}>{head}</option>
          ))}
        </select>
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
      <p class="small">asking about step {selected.value}</p>
    </section>
  );
}
