import type { ComponentChildren } from "preact";

interface Props {
  name: string;
  close: () => void;
  children: ComponentChildren;
}

/** What lies over the page until it is closed. */
export function Dialog({ name, close, children }: Props) {
  return (
    <div class="shade" onClick={(event) => event.target === event.currentTarget && close()}>
      <div
        class="dialog"
        role="dialog"
        aria-modal="true"
        aria-label={name}
        tabIndex={-1}
        ref={(element) => {
          if (!element?.contains(document.activeElement)) element?.focus();
        }}
        onKeyDown={(event) => event.key === "Escape" && close()}
      >
        <header>
          <h2>{name}</h2>
          <button onClick={close}>Close</button>
        </header>
        {children}
      </div>
    </div>
  );
}
