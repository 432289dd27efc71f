import { useSignal } from "@preact/signals";
import { drawLives, lineOf } from "../draw/curve.ts";
import { episodesPicture } from "../draw/episodes.ts";
import { csv } from "../save.ts";
import { OF_CLAIM, context, live, liveOn, model, ran, run, running, selected, state, takeLife } from "../store.ts";
import type { Context, LiveReference } from "../types.ts";
import { number, stepName } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { isCopy } from "../wire.ts";
import { Panel } from "./panel.tsx";

const USUAL = ["model", "source"];
const PACES: [string, number][] = [
  ["as fast as they can", Infinity],
  ["10 steps a second", 10],
  ["2 steps a second", 2],
];

/** The model, what a hypothesis leaves of it, its source and learners, side by side in the world of the context. */
export function LivePanel() {
  const shown = live.value;
  const chosen = state.value!.live;
  return (
    <Panel
      name="Live"
      help="Who is chosen lives in the world of this context, from an empty context or from the selected step on; nobody sees what the others do. Each life can be taken as the context."
      code={shown?.code}
      data={shown ? () => returnsTable(Object.entries(shown.lives)) : undefined}
      tools={!isCopy && <Begin />}
    >
      {!chosen && <p class="small">Let the model live in this world, beside its source, learners, and what a hypothesis leaves of it.</p>}
      {chosen && !isCopy && <Who chosen={chosen} />}
      {chosen && !isCopy && <Clock chosen={chosen} />}
      {chosen && Object.entries(shown?.absent ?? {}).map(([who, reason]) => (
        <p class="small">
          {who} does not live on: {reason}
        </p>
      ))}
      {shown && shown.steps > 0 && (
        <>
          <ul class="lives">
            {Object.entries(shown.lives).map(([who, life], place) => (
              <Life key={who} who={who} life={life} place={place} />
            ))}
          </ul>
          <div>
            <Canvas
              label="return of every episode of those who live"
              height={() => 96}
              draw={(pen, paint, width, height) => {
                const now = live.value;
                if (now) drawLives(pen, paint, width, height, Object.entries(now.lives), now.longest, now.since);
              }}
            />
          </div>
        </>
      )}
    </Panel>
  );
}

/** Where lives begin: with nothing, or with what the context is up to the selected step. */
function Begin() {
  const step = Math.min(selected.value, context.value!.nSteps - 1);
  const begin = (since: number) => {
    const before = state.value!.live;
    running.value = false;
    void liveOn({ of: before?.of ?? USUAL, since, until: since, seed: before?.seed ?? 0 });
  };
  return (
    <span class="row">
      begin
      <button onClick={() => begin(0)}>from nothing</button>
      <button title="With the steps before it as their common past" onClick={() => begin(step)}>
        from step {stepName(context.value!, step).split(" ")[0]}
      </button>
    </span>
  );
}

/** Who lives: a click adds or removes; the lives begin anew. */
function Who({ chosen }: { chosen: LiveReference }) {
  const learners = live.value?.learners ?? {};
  const claim = state.value!.claim;
  const ofClaim = claim && ran.value.has(claim.file) ? OF_CLAIM : [];
  const offered = [...new Set([...USUAL, ...ofClaim, ...chosen.of])];
  const words = (who: string) => learners[who] ?? (who === "scrubbed" ? "the model scrubbed by the hypothesis before every decision" : "what the last node of the hypothesis says");
  const set = (of: string[]) => {
    running.value = false;
    if (of.length) void liveOn({ of, until: chosen.since });
  };
  return (
    <div class="row" role="group" aria-label="who lives">
      {offered.map((who) => (
        <button
          aria-pressed={chosen.of.includes(who)}
          title={words(who)}
          onClick={() => set(chosen.of.includes(who) ? chosen.of.filter((kept) => kept !== who) : [...chosen.of, who])}
        >
          {who}
        </button>
      ))}
      <select
        aria-label="another who lives"
        value=""
        onChange={(event) => {
          const added = event.currentTarget.value;
          event.currentTarget.value = "";
          if (added) set([...chosen.of, added]);
        }}
      >
        <option value="">add…</option>
        {Object.entries(learners)
          .filter(([who]) => !offered.includes(who))
          .map(([who, meaning]) => (
            <option value={who}>
              {who}: {meaning}
            </option>
          ))}
      </select>
      {!ofClaim.length && <span class="small">with a hypothesis that was run: the scrubbed model, too</span>}
    </div>
  );
}

/** Let them live on. */
function Clock({ chosen }: { chosen: LiveReference }) {
  const pace = useSignal(0);
  const longest = live.value?.longest ?? chosen.until;
  const ended = live.value !== null && chosen.until >= longest;
  const horizon = model.value!.horizon;
  const on = (until: number) => {
    running.value = false;
    void liveOn({ until: Math.min(until, longest) });
  };
  const nextEpisode = (Math.floor(chosen.until / horizon) + 1) * horizon;
  return (
    <div class="row">
      <button disabled={ended || live.value === null} onClick={() => on(chosen.until + 1)}>
        Step
      </button>
      <button disabled={ended || live.value === null} onClick={() => on(nextEpisode)}>
        Episode
      </button>
      <button
        disabled={ended || live.value === null}
        aria-pressed={running.value}
        onClick={() => {
          if (running.value) running.value = false;
          else void run(PACES[pace.value][1]);
        }}
      >
        {running.value ? "Pause" : "Run"}
      </button>
      <select aria-label="how fast they live" value={`${pace.value}`} onChange={(event) => (pace.value = Number(event.currentTarget.value))}>
        {PACES.map(([words], place) => (
          <option value={`${place}`}>{words}</option>
        ))}
      </select>
      <label title="decides what chance does, the same for everybody">
        seed{" "}
        <input
          type="number"
          min={0}
          key={chosen.seed}
          defaultValue={`${chosen.seed}`}
          onChange={(event) => {
            running.value = false;
            void liveOn({ seed: Number(event.currentTarget.value), until: chosen.since });
          }}
        />
      </label>
      <span class="small">
        {live.value?.steps ?? chosen.until} of {longest} steps
        {chosen.since > 0 && `, the first ${chosen.since} in common`}
      </span>
    </div>
  );
}

function Life({ who, life, place }: { who: string; life: Context; place: number }) {
  const { since, longest } = live.value!;
  const episodes = Math.ceil(longest / model.value!.horizon);
  const picture = (width: number, shown: Context) => episodesPicture(shown, width, 118, episodes);
  const earned = life.rewards.subarray(since).reduce((sum, reward) => sum + reward, 0);
  const { colour } = lineOf(place);
  return (
    <li>
      <p>
        <span class="swatch" style={{ background: colour }} /> <b>{who}</b> earned {number(earned)}
        {since > 0 && ` since step ${since}`}
        {!isCopy && (
          <button class="quiet" title="Take this life as the context; undo goes back" onClick={() => takeLife(who)}>
            To Context
          </button>
        )}
      </p>
      <Canvas
        label={`the life of ${who}`}
        height={(width) => picture(width, live.value?.lives[who] ?? life).height}
        draw={(pen, paint, width) => {
          const shown = live.value?.lives[who];
          if (!shown?.nSteps) return;
          const looks = { selected: shown.nSteps - 1, hovered: null, weights: null, actionNames: model.value!.actions };
          picture(width, shown).draw(pen, paint, looks);
        }}
      />
    </li>
  );
}

function returnsTable(lives: [string, Context][]): string {
  return csv(["learner", "episode", "return"], lives.flatMap(([who, life]) => life.returns.map((earned, episode) => [who, episode, earned])));
}
