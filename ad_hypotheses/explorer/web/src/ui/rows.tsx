import { signal } from "@preact/signals";
import { changeOrigin, model, playByHand, state } from "../store.ts";
import { ask } from "../transport.ts";
import type { FromHistories, RowsAnswer, Tasks } from "../types.ts";
import { number } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { Dialog } from "./dialog.tsx";
import { copy, say } from "./panel.tsx";

export const showingRows = signal(false);
const rows = signal<RowsAnswer | null>(null);
const order = signal<"row" | "return" | "first reward">("row");
const fact = signal(""); // a task, by its facts; all of them where it is empty

/** Show the histories that there are to choose from. */
export async function showRows(): Promise<void> {
  showingRows.value = true;
  await read();
}

async function read(): Promise<void> {
  rows.value = null;
  if (state.value!.origin.kind !== "histories") return;
  rows.value = await ask<RowsAnswer>("rows", state.value!).catch((error) => {
    say(error.message);
    return null;
  });
}

async function take(parts: Partial<FromHistories>): Promise<void> {
  await changeOrigin({ row: 0, ...parts });
  fact.value = "";
  await read();
}

const PER_PAGE = [8, 32, 64, 128, 256];

/** Which history is the context: of whom, on which tasks, and which row of them; or an empty one. */
export function Rows() {
  if (!showingRows.value) return null;
  const { origin } = state.value!;
  const chosen = origin.kind === "histories" ? origin : null;
  return (
    <Dialog name="Which history" close={() => (showingRows.value = false)}>
      <div class="row choices">
        <label>
          of{" "}
          <select value={chosen?.data ?? ""} onChange={(event) => take({ data: event.currentTarget.value, source: null })}>
            {!chosen && <option value="">by hand, or from a file</option>}
            {model.value!.data.map((name) => (
              <option value={name}>{name}</option>
            ))}
          </select>
        </label>
        {chosen?.data === "source" && (
          <label title="learners that the model was distilled from, or of another source on the same tasks">
            learners{" "}
            <select value={chosen.source ?? ""} onChange={(event) => take({ source: event.currentTarget.value || null })}>
              <option value="">that it was distilled from</option>
              {model.value!.sources.map((name) => (
                <option value={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        {chosen && (
          <>
            <label>
              tasks{" "}
              <select value={chosen.tasks} onChange={(event) => take({ tasks: event.currentTarget.value as Tasks })}>
                {["held-out", "train", "all"].map((name) => (
                  <option value={name}>{name}</option>
                ))}
              </select>
            </label>
            <label>
              rows{" "}
              <select value={`${chosen.rows}`} onChange={(event) => take({ rows: Number(event.currentTarget.value) })}>
                {[...new Set([...PER_PAGE, chosen.rows])].map((count) => (
                  <option value={`${count}`}>{count}</option>
                ))}
              </select>
            </label>
            <button title="Others of the same kind" onClick={() => take({ seed: chosen.seed + 1 })}>
              Next page
            </button>
            <button disabled={chosen.seed === 0} onClick={() => take({ seed: chosen.seed - 1 })}>
              Page before
            </button>
            <span class="small">page {chosen.seed}</span>
          </>
        )}
      </div>
      {chosen && <Table shown={rows.value} chosen={chosen} />}
      <ByHand />
    </Dialog>
  );
}

const words = (facts: Record<string, unknown>): string =>
  Object.entries(facts)
    .map(([name, value]) => `${name} ${[value].flat(2).map((each) => number(Number(each))).join(", ")}`)
    .join("; ")
    .slice(0, 60);

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

const firstPaid = (values: number[]): number => {
  const place = values.findIndex((value) => value > 0);
  return place < 0 ? Infinity : place;
};

function Table({ shown, chosen }: { shown: RowsAnswer | null; chosen: FromHistories }) {
  if (!shown) return <p class="small">generating histories</p>;
  const tasks = [...new Set(shown.facts.map(words))].sort();
  const several = shown.returns[0].length > 1;
  const listed = shown.returns.map((_, row) => row).filter((row) => !fact.value || words(shown.facts[row]) === fact.value);
  if (order.value === "return") listed.sort((first, second) => sum(shown.returns[second]) - sum(shown.returns[first]));
  if (order.value === "first reward") listed.sort((first, second) => firstPaid(shown.returns[first]) - firstPaid(shown.returns[second]));
  const most = Math.max(1e-9, ...shown.returns.flat());
  return (
    <>
      <div class="row choices">
        <label>
          sorted by{" "}
          <select value={order.value} onChange={(event) => (order.value = event.currentTarget.value as typeof order.value)}>
            <option value="row">row</option>
            <option value="return">return, best first</option>
            {several && <option value="first reward">episode of the first reward</option>}
          </select>
        </label>
        {tasks.length > 1 && tasks.length < shown.facts.length && (
          <label>
            task{" "}
            <select value={fact.value} onChange={(event) => (fact.value = event.currentTarget.value)}>
              <option value="">all {tasks.length}</option>
              {tasks.map((name) => (
                <option value={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <button class="quiet" title={shown.code} onClick={() => copy(shown.code, "copied")}>
          Python
        </button>
      </div>
      <ul class="rows">
        {listed.map((row) => (
          <li key={`${shown.code} ${row}`}>
            <button
              aria-pressed={row === chosen.row}
              title={words(shown.facts[row])}
              onClick={() => {
                showingRows.value = false;
                void changeOrigin({ row });
              }}
            >
              row {row} <b>{number(sum(shown.returns[row]))}</b>
            </button>
            {several && (
              <div>
                <Canvas
                  label={`returns of row ${row}`}
                  height={() => 26}
                  draw={(pen, paint, width, height) => {
                    const values = shown.returns[row];
                    pen.fillStyle = paint.accent;
                    values.forEach((value, episode) => {
                      const tall = Math.max(1, ((height - 2) * value) / most);
                      pen.fillRect((episode * width) / values.length, height - tall, Math.max(1, width / values.length - 1), tall);
                    });
                  }}
                />
              </div>
            )}
            <span class="small">{words(shown.facts[row])}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

const task = signal(0);
const tasks = signal<Tasks>("held-out");

function ByHand() {
  return (
    <div class="row choices">
      <button
        onClick={() => {
          showingRows.value = false;
          void playByHand(task.value, tasks.value);
        }}
      >
        Begin an empty context
      </button>
      <span>
        of task{" "}
        <input type="number" min={0} aria-label="number of the task" value={task.value} onChange={(event) => (task.value = Number(event.currentTarget.value))} />{" "}
        of those{" "}
        <select aria-label="of which tasks" value={tasks.value} onChange={(event) => (tasks.value = event.currentTarget.value as Tasks)}>
          <option value="held-out">held out</option>
          <option value="train">trained on</option>
          <option value="all">of all</option>
        </select>
      </span>
      <span class="small">Keys act: each adds a step, which the world answers.</span>
    </div>
  );
}
