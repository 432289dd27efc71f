import { drawHeat, heatOf, placeAt } from "../draw/heat.ts";
import { csv } from "../save.ts";
import { choose, context, edit, scan, selected, state } from "../store.ts";
import type { Scan } from "../types.ts";
import { number, stepName } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { isCopy } from "../wire.ts";
import { Panel } from "./panel.tsx";

/** What the model does here as one thing varies: on a map of places, or line by line. */
export function ScanPanel() {
  const current = context.value!;
  const chosen = state.value!.scan;
  const shown = scan.value;
  const places = current.world.kind === "room" ? Object.keys(current.world.places) : [];
  if (current.world.kind === "graph" && "goal" in current.facts) places.push("goal");
  const known = [...places, "action", "reward", ...(current.starts.length > 2 ? ["episodes"] : [])];
  const since = (vary: string) => (places.includes(vary) || vary === "episodes" ? 0 : Math.max(0, selected.value - 1));
  const label = (value: Scan["values"][number]) => [value].flat().join(", ");
  return (
    <Panel
      name="Scan"
      help="What is asked about at the selected step as one thing varies, all else as it was done: where the goal lies, the world answering from the first step on; the action or the reward of a step before; or how many episodes come before. A click makes it so."
      code={shown?.code}
      data={shown ? () => csv([shown.vary, shown.of], shown.values.map((value, place) => [label(value), shown.asked[place]])) : undefined}
      tools={
        <span class="row" inert={isCopy}>
          vary
          <select
            aria-label="what varies"
            value={chosen?.vary ?? ""}
            onChange={(event) => {
              const vary = event.currentTarget.value;
              void choose({ scan: vary ? { vary, since: since(vary) } : null });
            }}
          >
            <option value="">nothing</option>
            {known.map((name) => (
              <option value={name}>{name === "episodes" ? "episodes before" : name}</option>
            ))}
          </select>
          {(chosen?.vary === "action" || chosen?.vary === "reward") && (
            <label>
              of step{" "}
              <input
                type="number"
                min={0}
                max={selected.value}
                key={chosen.since}
                defaultValue={`${chosen.since}`}
                onChange={(event) => choose({ scan: { ...chosen, since: Number(event.currentTarget.value) } })}
              />
            </label>
          )}
        </span>
      }
    >
      {chosen && !shown && <p class="small">asking the model in every context</p>}
      {shown && chosen && <Shown shown={shown} places={places} label={label} />}
    </Panel>
  );
}

interface ShownProps {
  shown: Scan;
  places: string[];
  label: (value: Scan["values"][number]) => string;
}

function Shown({ shown, places, label }: ShownProps) {
  const [low, high] = [Math.min(...shown.asked), Math.max(...shown.asked)];
  const take = (value: Scan["values"][number]) => {
    if (shown.vary === "action") return edit({ kind: "edit", step: shown.since, action: value as string, then: "world" });
    if (shown.vary === "reward") return edit({ kind: "edit", step: shown.since, reward: value as number, then: "nothing" });
    if (shown.vary === "episodes") return undefined;
    const place = [value].flat() as number[];
    return edit({ kind: "change_facts", step: shown.since, facts: { [shown.vary]: place.length > 1 ? place : place[0] } });
  };
  const words = (
    <p class="where">
      {shown.of.includes(" - ") ? "difference of log-probabilities" : "log-probability"} of {shown.of} at step {stepName(context.value!, shown.step)}
      {shown.vary === "episodes" ? "" : `, changed ${places.includes(shown.vary) ? "from step" : "at step"} ${shown.since}`}: {low.toFixed(2)} to{" "}
      {high.toFixed(2)}
    </p>
  );
  if (places.includes(shown.vary) && context.value!.world.kind === "room") {
    const cells = shown.values as number[][];
    return (
      <>
        {words}
        <Canvas
          label={`what is asked about, by ${shown.vary}`}
          cursor="pointer"
          height={(width) => heatOf(cells, width).side * heatOf(cells, width).rows}
          draw={(pen, paint, width) => drawHeat(pen, paint, cells, shown.asked, heatOf(cells, width))}
          onClick={({ x, y }, _, width) => {
            const place = placeAt(cells, heatOf(cells, width), x, y);
            if (place !== null) void take(cells[place]);
          }}
        />
      </>
    );
  }
  return (
    <>
      {words}
      <table class="parts">
        <tbody>
          {shown.values.map((value, place) => (
            <tr>
              <th>
                {shown.vary === "episodes" ? (
                  label(value)
                ) : (
                  <button class="quiet" onClick={() => take(value)}>
                    {label(value)}
                  </button>
                )}
              </th>
              <td>
                <span class="part plus" style={{ display: "block", width: `${Math.round((100 * (shown.asked[place] - low)) / (high - low || 1))}%`, height: "11px" }} />
              </td>
              <td class="value">{number(shown.asked[place])}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
