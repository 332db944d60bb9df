import { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { reach, span } from './window';

const PLAIN = 30;

interface IListProps<T> {
  rows: readonly T[];
  /** The height of every row in px, once there are many. */
  height: number;
  label: string;
  keyOf(row: T): string;
  /** `active` tells whether the row is the one that Tab reaches. */
  draw(row: T, active: boolean): ComponentChildren;
  onEnter?(row: T): void;
}

/** A list of any length: of a long one only the rows in sight exist. Arrow keys, Home, End and the page keys go through it. */
export function List<T>(props: IListProps<T>) {
  const { rows, height } = props;
  const box = useRef<HTMLDivElement>(null);
  const [sight, setSight] = useState({ top: 0, size: 600 });
  const [active, setActive] = useState(0);
  const wanted = useRef(false);
  const long = rows.length > PLAIN;
  const at = Math.min(active, rows.length - 1);
  useMeasured(box, size => setSight(old => ({ ...old, size })));
  useLayoutEffect(() => {
    if (wanted.current) {
      wanted.current = false;
      box.current?.querySelector<HTMLElement>('li[data-active]')?.focus({ preventScroll: !long ? false : true });
    }
  });
  const go = (index: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, index));
    const element = box.current;
    const top = element && long ? reach(next, height, element.scrollTop, element.clientHeight) : null;
    if (element && top !== null) {
      element.scrollTop = top;
      setSight(old => ({ ...old, top }));
    }
    wanted.current = true;
    setActive(next);
  };
  const press = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(sight.size / height) - 1);
    const steps: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page };
    const goal = event.key === 'Home' ? 0 : event.key === 'End' ? rows.length - 1 : steps[event.key];
    if (goal !== undefined) {
      event.preventDefault();
      go(goal);
    } else if (event.key === 'Enter' && (event.target as HTMLElement).tagName === 'LI' && rows[at] !== undefined) {
      props.onEnter?.(rows[at]);
    }
  };
  const shown = long ? span(rows.length, height, sight.top, sight.size) : { first: 0, last: rows.length };
  return (
    <div
      class="gp-scroll"
      ref={box}
      onScroll={event => setSight(old => ({ ...old, top: event.currentTarget.scrollTop }))}
      onKeyDown={press}
    >
      <ul aria-label={props.label} class={long ? 'gp-long' : ''} style={long ? { height: `${rows.length * height}px` } : {}}>
        {rows.slice(shown.first, shown.last).map((row, offset) => {
          const index = shown.first + offset;
          return (
            <li
              key={props.keyOf(row)}
              tabIndex={index === at ? 0 : -1}
              data-active={index === at ? '' : undefined}
              aria-setsize={rows.length}
              aria-posinset={index + 1}
              onFocusCapture={() => setActive(index)}
              style={long ? { top: `${index * height}px`, height: `${height}px` } : {}}
            >
              {props.draw(row, index === at)}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function useMeasured(box: { current: HTMLDivElement | null }, tell: (height: number) => void): void {
  useEffect(() => {
    const element = box.current;
    if (!element) {
      return undefined;
    }
    const observer = new ResizeObserver(() => tell(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
}
