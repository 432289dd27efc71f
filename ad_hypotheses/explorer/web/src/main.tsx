import { render } from "preact";
import { listen } from "./keys.ts";
import { begin, context, live, model, others, problem, progress, scan, scrub, seconds, state } from "./store.ts";
import { ClaimPanel } from "./ui/claim.tsx";
import { ContextPanel } from "./ui/context.tsx";
import { Header } from "./ui/header.tsx";
import { LivePanel } from "./ui/live.tsx";
import { OthersPanel } from "./ui/others.tsx";
import { ScanPanel } from "./ui/scan.tsx";
import { StepPanel } from "./ui/step.tsx";
import { AblationPanel, AttentionPanel, AttributionPanel, DifferencePanel } from "./ui/why.tsx";
import { isCopy } from "./wire.ts";

function Page() {
  if (!state.value || !model.value || !context.value) {
    return problem.value ? (
      <p class="problem" role="alert">
        {problem.value}
      </p>
    ) : (
      <p class="waiting">
        Loading the model and its histories; the first time takes some seconds. {progress.value}
        {seconds.value > 5 && `, ${seconds.value} s`}
      </p>
    );
  }
  return (
    <>
      <Header />
      {isCopy && (
        <p class="copy-says">
          A copy of one state of <b>{model.value.name}</b>: steps can be selected, nothing can be changed. <i>Save</i> gives the state, which{" "}
          <code>ad-hypotheses explore FILE</code> opens to go on from here.
        </p>
      )}
      <main>
        <div class="left">
          <ContextPanel />
          {(!isCopy || scrub.value) && <ClaimPanel />}
          {(!isCopy || live.value) && <LivePanel />}
        </div>
        <div class="right">
          <StepPanel />
          <AttentionPanel />
          <AttributionPanel />
          <DifferencePanel />
          {!isCopy && <AblationPanel />}
          {(!isCopy || scan.value) && <ScanPanel />}
          {(!isCopy || others.value) && <OthersPanel />}
        </div>
      </main>
    </>
  );
}

document.title = "explorer";
const place = document.getElementById("app")!;
place.textContent = "";
render(<Page />, place);
listen();
void begin();
