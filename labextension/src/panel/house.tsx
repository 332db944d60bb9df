/** What every part of the panel can reach: the store, the words, and the one question that is open. */
import { ComponentChildren, createContext } from 'preact';
import { useContext, useEffect, useLayoutEffect, useReducer, useState } from 'preact/hooks';
import { moment, ago, ITranslate, plain } from './text';
import { IView, Store } from './store';

/** A question that must be answered before something is done that cannot be taken back or costs money. */
export interface IQuestion {
  title: string;
  lines: string[];
  warning?: string;
  /** What can be copied from it, as it stands. */
  command?: string;
  /** When the question is too old to be answered, ms by the state's clock. */
  until?: number | null;
  verb?: string;
  danger?: boolean;
  run?: () => void;
}

export interface IHouse {
  store: Store;
  t: ITranslate;
  ask(question: IQuestion): void;
  show(tab: string): void;
  memory: IMemory;
  /** The beginning of every id in the page: two panels may stand in one. */
  id: string;
}

/** What the panel remembers of a person's choices, from one day to the next. */
export interface IMemory {
  get(key: string): string | null;
  set(key: string, value: string): void;
}

export const House = createContext<IHouse>({
  store: null as unknown as Store,
  t: plain,
  ask: () => undefined,
  show: () => undefined,
  memory: { get: () => null, set: () => undefined },
  id: 'gp'
});

export const useHouse = () => useContext(House);

/** The view, drawn at most once a frame however often it changes. */
export function useView(store: Store): IView {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    let frame = 0;
    const later = () => {
      frame = frame || requestAnimationFrame(() => ((frame = 0), draw(undefined)));
    };
    later();
    const stop = store.listen(later);
    return () => (cancelAnimationFrame(frame), stop());
  }, [store]);
  return store.view;
}

const Clock = createContext(0);

/** The state's clock in ms, for whatever counts on; draws only those again that ask for it. */
export const useNow = () => useContext(Clock);

/** Let the clock go once a second while `on`. */
export function Ticking(props: { store: Store; on: boolean; children: ComponentChildren }) {
  const { store } = props;
  const { saved, skew } = store.view;
  // Of what was saved nobody knows whether it goes on: what it cost and how long it lasts stands still.
  const read = () => store.view.saved ?? store.now();
  const [now, set] = useState(read());
  // A clock found to be wrong is put right before anything is shown by it.
  useLayoutEffect(() => set(read()), [store, saved, Math.round(skew / 1000)]);
  useEffect(() => {
    set(read());
    if (!props.on) {
      return undefined;
    }
    const timer = setInterval(() => set(read()), 1000);
    return () => clearInterval(timer);
  }, [store, props.on]);
  return <Clock.Provider value={now}>{props.children}</Clock.Provider>;
}

/** The age of `at`, which goes on. */
export function Ago(props: { at: string | null }) {
  const { t, store } = useHouse();
  const clock = useNow();
  const now = store.view.saved === null ? clock : store.now();
  const at = moment(props.at);
  return <time dateTime={props.at ?? undefined}>{at === null ? '–' : ago(t, (now - at) / 1000)}</time>;
}
