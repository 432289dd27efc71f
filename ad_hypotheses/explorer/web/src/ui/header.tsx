import { signal } from "@preact/signals";
import { save } from "../save.ts";
import { cancel, changeModel, changeOrigin, choose, model, models, painted, progress, ran, seconds, state, waiting } from "../store.ts";
import { ask, packed } from "../transport.ts";
import { Dialog } from "./dialog.tsx";
import { copy, note, say } from "./panel.tsx";
import { Open } from "./open.tsx";
import { Reports } from "./reports.tsx";
import { Rows, showRows } from "./rows.tsx";
import { isCopy } from "../wire.ts";

const showingPython = signal<{ script: string; test: string } | null>(null);
export const showingKeys = signal(false);

/** Take another model; where that is refused or left, the choice shows again which holds. */
async function take(select: HTMLSelectElement): Promise<void> {
  await changeModel(select.value);
  select.value = state.value!.model.name;
}

/** Take a number that was typed; where it is refused, the field shows again what holds. */
async function change(input: HTMLInputElement, name: "row" | "seed"): Promise<void> {
  await changeOrigin({ [name]: Number(input.value) });
  const { origin } = state.value!;
  if (origin.kind === "histories") input.value = `${origin[name]}`;
}

export function Header() {
  const current = state.value!;
  const origin = current.origin;
  const python = async () => {
    showingPython.value = await ask<{ script: string; test: string }>("python", current).catch((error) => {
      say(error.message);
      return null;
    });
  };
  const bundle = async () => {
    const claim = current.claim !== null && ran.value.has(current.claim.file);
    say("writing the page");
    const content = await ask<string>("bundle", current, { claim }).catch((error) => {
      say(error.message);
      return null;
    });
    if (content) save.text(content, `explorer-${current.model.name}.html`, "text/html");
  };
  return (
    <header class="top">
      <span class="row" inert={isCopy}>
      <label title={`${model.value!.words}: ${model.value!.task}`}>
        Model{" "}
        <select value={current.model.name} onChange={(event) => take(event.currentTarget)}>
          {models.value.map((name) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      </label>
      {origin.kind === "histories" ? (
        <>
          <label title="whose history: learners that it was distilled from, its own, or its own with one thing changed">
            History of{" "}
            <select class="narrow" value={origin.data} onChange={(event) => changeOrigin({ data: event.currentTarget.value, row: 0 })}>
              {model.value!.data.map((name) => (
                <option value={name}>{name}</option>
              ))}
            </select>
          </label>
          <label title="on tasks that it was trained on, or on others">
            tasks{" "}
            <select
              value={origin.tasks}
              onChange={(event) => changeOrigin({ tasks: event.currentTarget.value as "train" | "held-out" | "all", row: 0 })}
            >
              {["held-out", "train", "all"].map((name) => (
                <option value={name}>{name}</option>
              ))}
            </select>
          </label>
          <label>
            row{" "}
            <input
              type="number"
              min={0}
              max={origin.rows - 1}
              key={`row ${origin.row}`}
              defaultValue={`${origin.row}`}
              onChange={(event) => change(event.currentTarget, "row")}
            />{" "}
            of {origin.rows}
          </label>
          <label title="decides which histories there are">
            seed{" "}
            <input
              type="number"
              min={0}
              key={`seed ${origin.seed}`}
              defaultValue={`${origin.seed}`}
              onChange={(event) => change(event.currentTarget, "seed")}
            />
          </label>
        </>
      ) : (
        <span>
          {origin.kind === "play" ? `by hand, task ${origin.task}` : "a history from a file"}{" "}
          <button onClick={() => changeOrigin({})}>Take one of the model's data</button>
        </span>
      )}
      <button title="Choose among the histories, or begin an empty one; key r" onClick={showRows}>
        Rows
      </button>
      </span>
      <span class="status" aria-live="polite" data-painted={Math.round(painted.value)}>
        {waiting.value > 0 ? <Waiting /> : note.value || (painted.value ? `drawn in ${Math.round(painted.value)} ms` : "")}
      </span>
      {!isCopy && <Reports />}
      <button title="Copy a link to what is shown" onClick={async () => copy(`${location.origin}${location.pathname}#${await packed(current)}`, "link copied")}>
        Link
      </button>
      <button onClick={() => save.text(JSON.stringify(current, null, 1), `explorer-${current.model.name}.json`, "application/json")}>
        Save
      </button>
      {!isCopy && <Open />}
      {!isCopy && (
        <button title="One HTML file of what is shown, which needs no server: to send, or to put beside a paper" onClick={bundle}>
          Bundle
        </button>
      )}
      <button onClick={python}>Python</button>
      <button aria-label="keys" title="Keys (?)" onClick={() => (showingKeys.value = true)}>
        ?
      </button>
      {showingPython.value && <Python {...showingPython.value} />}
      {showingKeys.value && <Keys />}
      <Rows />
    </header>
  );
}

/** For how long the page waits and for what; a long wait can be ended. */
function Waiting() {
  if (seconds.value < 2) return <>computing</>;
  return (
    <>
      {progress.value || "computing"}, {seconds.value} s{" "}
      <button class="quiet" title="Leave it, and stay with what is shown" onClick={cancel}>
        Cancel
      </button>
    </>
  );
}

function Python({ script, test }: { script: string; test: string }) {
  const close = () => (showingPython.value = null);
  return (
    <Dialog name="This state as Python" close={close}>
      <p>It prints the numbers on the screen.</p>
      <pre>{shortened(script)}</pre>
      <button onClick={() => copy(script, "copied")}>Copy the script</button>
      <p>A test for pytest that fails once the model decides otherwise at this step.</p>
      <pre>{shortened(test)}</pre>
      <button onClick={() => copy(test, "copied")}>Copy the test</button>
    </Dialog>
  );
}

/** Lines that hold a whole history are cut for the eye; what is copied is whole. */
const shortened = (text: string): string =>
  text
    .split("\n")
    .map((line) => (line.length > 400 ? `${line.slice(0, 200)} … ${line.slice(-30)}` : line))
    .join("\n");

const KEYS: [string, string][] = [
  ["arrows", "act: in rooms up, down, left, right; in grids left, right, forward; the next step is selected"],
  ["s", "stay, where there is such an action"],
  ["0 to 9", "do the action of that number"],
  ["Alt + ← →", "select the step before, after"],
  ["Alt + ↑ ↓", "select the same step of the episode before, after"],
  ["r", "choose among the histories"],
  ["p", "keep the context as it is beside what it becomes, and compare"],
  ["g", "go to a step: 21.7 is step 7 of episode 21"],
  ["u, Shift + u", "undo, redo"],
  ["w, m, o", "after an edit the world answers, the model goes on, or only the token changes"],
  ["Shift + click", "in a room or graph: the selected step sees that cell, and nothing else changes"],
  ["t", "the episode as a table, too"],
  ["drag, double click", "on the strip: show these steps, show all"],
];

function Keys() {
  return (
    <Dialog name="Keys" close={() => (showingKeys.value = false)}>
      <table class="keys">
        <tbody>
          {KEYS.map(([key, words]) => (
            <tr>
              <th>{key}</th>
              <td>{words}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <label class="notes">
        Notes, kept in the link and in the file
        <textarea
          rows={5}
          value={state.value!.notes}
          onChange={(event) => choose({ notes: event.currentTarget.value })}
        />
      </label>
    </Dialog>
  );
}
