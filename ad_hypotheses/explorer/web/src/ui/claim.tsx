import { useSignal } from "@preact/signals";
import { drawEpisode } from "../draw/episodes.ts";
import { csv } from "../save.ts";
import { choose, claims, context, model, ran, runClaim, scrub, state } from "../store.ts";
import { donorContext } from "../transport.ts";
import type { ClaimFile, ClaimReference, Donor, Scrub } from "../types.ts";
import { stepName } from "../words.ts";
import { Canvas } from "./canvas.tsx";
import { Panel } from "./panel.tsx";

/** A hypothesis on this context: how far scrubbing moves the model at every step, and who stood in for what here. */
export function ClaimPanel() {
  const claim = state.value!.claim;
  const shown = scrub.value;
  const runs = claim !== null && ran.value.has(claim.file);
  return (
    <Panel
      name="Hypothesis"
      help="The context scrubbed by a hypothesis: whatever it calls irrelevant is taken from other histories that agree in what it calls relevant."
      code={shown?.code}
      data={shown ? () => donorsTable(shown) : undefined}
      tools={<Choice />}
    >
      {!claim && <p class="small">Choose a hypothesis to see whether it holds in this context.</p>}
      {claim && !runs && (
        <p>
          A hypothesis is code.{" "}
          <button onClick={() => runClaim(claim)}>
            Run {claim.file}
          </button>
        </p>
      )}
      {runs && !shown && <p class="small">scrubbing; the first time takes some seconds</p>}
      {shown && claim && <Outcome shown={shown} claim={claim} />}
    </Panel>
  );
}

const stem = ({ file }: ClaimFile): string => file.replace(/^.*?hypotheses\//, "").replace(/\.py$/, "");

function Choice() {
  const claim = state.value!.claim;
  const file = claims.value.find((entry) => entry.file === claim?.file);
  const take = (parts: Partial<ClaimReference>) => choose({ claim: { ...claim!, ...parts } });
  return (
    <span class="row">
      <select
        aria-label="hypothesis"
        value={claim?.file ?? ""}
        onChange={(event) => {
          const chosen = claims.value.find((entry) => entry.file === event.currentTarget.value);
          void choose({ claim: chosen ? { file: chosen.file, name: chosen.names[0] ?? null, rows: 64, passes: 2, seed: 0 } : null });
        }}
      >
        <option value="">none</option>
        {claims.value.map((entry) => (
          <option value={entry.file} title={entry.title}>
            {stem(entry)}
          </option>
        ))}
      </select>
      {claim && file && file.names.length > 1 && (
        <select aria-label="which of the file" value={claim.name ?? ""} onChange={(event) => take({ name: event.currentTarget.value })}>
          {file.names.map((name) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      )}
      {claim && ran.value.has(claim.file) && (
        <button title="Draw other donors" onClick={() => take({ seed: claim.seed + 1 })}>
          Draw again
        </button>
      )}
    </span>
  );
}

function Outcome({ shown, claim }: { shown: Scrub; claim: ClaimReference }) {
  const pass = useSignal(0);
  const current = context.value!;
  const worst = shown.divergence.indexOf(Math.max(...shown.divergence));
  const here = shown.divergence[shown.step];
  const chosen = shown.donors.filter((donor) => donor.pass === Math.min(pass.value, shown.passes - 1));
  return (
    <>
      <p class="where">
        Scrubbed by <b>{shown.claim}</b> with donors from {shown.n_among} other histories, the model moves by {shown.mean.toFixed(3)} nats
        on average, here by <b>{here.toFixed(3)}</b>, most at{" "}
        <button class="quiet" onClick={() => choose({ step: worst })}>
          step {stepName(current, worst)}
        </button>
        <label>
          histories{" "}
          <input
            type="number"
            min={8}
            max={1024}
            step={8}
            key={claim.rows}
            defaultValue={`${claim.rows}`}
            onChange={(event) => choose({ claim: { ...claim, rows: Number(event.currentTarget.value) } })}
          />
        </label>
      </p>
      <div class="row" role="radiogroup" aria-label="pass">
        Who stood in at this step, in pass
        {Array.from({ length: shown.passes }, (_, number) => (
          <button role="radio" aria-checked={pass.value === number} onClick={() => (pass.value = number)}>
            {number}
          </button>
        ))}
      </div>
      <ul class="donors">
        {chosen.map((donor) => (
          <DonorLine key={`${donor.arrow} ${donor.pass}`} donor={donor} />
        ))}
      </ul>
    </>
  );
}

function DonorLine({ donor }: { donor: Donor }) {
  const arrow = donor.arrow.split(" < ").reverse().join(" → ");
  const shown = donorContext(donor);
  if (!shown) {
    return (
      <li>
        <b>{arrow}</b>
        <br />
        <span class="small">{donor.row === null ? "nothing is drawn at this step" : "no other history agrees: the context itself"}</span>
      </li>
    );
  }
  const within = donor.step! - donor.first!;
  return (
    <li>
      <div class="tile">
        <Canvas
          key={`${donor.row} ${donor.step}`}
          label={`episode ${donor.episode} of history ${donor.row}`}
          height={(width) => (shown.world.kind === "room" || shown.world.kind === "graph" || (shown.world.kind === "grid" && shown.world.map) ? width + 20 : 60)}
          draw={(pen, paint, width) => drawEpisode(pen, paint, shown, width, within, model.value!.actions)}
        />
      </div>
      <b>{arrow}</b>
      <br />
      history {donor.row}, step {donor.episode}.{within} ({donor.step})
      <br />
      <span class="small">
        {short(donor.token!)}; does {donor.does}
      </span>
    </li>
  );
}

const short = (token: string): string => {
  const parts = token.split(" ");
  return parts.length > 6 ? `… ${parts.slice(-3).join(" ")}` : token;
};

function donorsTable(shown: Scrub): string {
  const lines = shown.donors.map((donor) => [donor.pass, donor.arrow, donor.row ?? "", donor.step ?? "", donor.token ?? ""]);
  return csv(["pass", "arrow", "donor_row", "donor_step", "token"], lines);
}
