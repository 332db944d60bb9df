import { render } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { House, IHouse, IMemory, IQuestion, Ticking, useHouse, useView } from './house';
import { Alerts, Operations } from './alerts';
import { Head, Spend } from './spend';
import { Dialog } from './dialog';
import { IPlatform } from './contract';
import { ITranslate } from './text';
import { IView, Store } from './store';
import { Jobs } from './jobs';
import { Pods } from './pods';
import { Prices } from './prices';

export interface IHost {
  store: Store;
  t: ITranslate;
  memory: IMemory;
  /** `sidebar` fills its place, `widget` has a height of its own. */
  shape: 'sidebar' | 'widget';
}

type Tab = 'pods' | 'prices' | 'jobs' | 'spend';
const TABS: readonly Tab[] = ['pods', 'prices', 'jobs', 'spend'];

/** Draw the panel into `element`; the answer takes it away. */
export function mount(element: HTMLElement, host: IHost): () => void {
  element.classList.add('gp-panel', `gp-${host.shape}`);
  // JupyterLab's keys (d d deletes a cell) are not meant for who types in here.
  element.dataset.lmSuppressShortcuts = 'true';
  render(<Panel host={host} element={element} />, element);
  return () => render(null, element);
}

function Panel(props: { host: IHost; element: HTMLElement }) {
  const { store, t, memory } = props.host;
  const view = useView(store);
  const [tab, setTab] = useState<Tab>(() => TABS.find(each => each === memory.get('tab')) ?? 'pods');
  const [question, ask] = useState<IQuestion | null>(null);
  const seen = useSeen(props.element);
  useEffect(() => memory.set('tab', tab), [tab]);
  useEffect(() => {
    if (!seen) {
      return undefined;
    }
    const who = {};
    store.look(who, { parts: tab === 'prices' ? ['pods', 'prices'] : ['pods'], gpus: [] });
    return () => store.look(who, null);
  }, [store, seen, tab]);
  const house = useMemo<IHouse>(
    () => ({ store, t, memory, ask, show: name => setTab(name as Tab), id: `gp-${Math.random().toString(36).slice(2)}` }),
    [store, t, memory]
  );
  return (
    <House.Provider value={house}>
      <Ticking store={store} on={seen}>
        <Header view={view} />
        <Notice view={view} />
        <Alerts part={view.parts?.alerts ?? null} pods={view.parts?.pods.items ?? null} />
        <Tabs tab={tab} view={view} choose={setTab} />
        <div class="gp-body" role="tabpanel" id={`${house.id}-body`} aria-label={tabWords(t, tab)}>
          <Body tab={tab} view={view} />
        </div>
        <Operations part={view.parts?.operations ?? null} view={view} />
        {question && <Dialog question={question} close={() => ask(null)} />}
      </Ticking>
    </House.Provider>
  );
}

function Body(props: { tab: Tab; view: IView }) {
  const { parts, prices } = props.view;
  if (props.tab === 'prices') {
    return <Prices view={props.view} prices={prices} platforms={parts?.platforms.items ?? null} />;
  }
  if (props.tab === 'jobs') {
    return <Jobs view={props.view} part={parts?.jobs ?? null} pods={parts?.pods.items ?? null} />;
  }
  if (props.tab === 'spend') {
    return <Spend part={parts?.spend ?? null} />;
  }
  return <Pods view={props.view} part={parts?.pods ?? null} />;
}

function Header(props: { view: IView }) {
  const { t, store } = useHouse();
  const { view } = props;
  const refresh = () => void store.act('refresh all', 'actions/refresh', { parts: ['pods', 'prices'] });
  return (
    <header class="gp-head">
      <Head spend={view.parts?.spend ?? null} />
      <button type="button" class="gp-icon" aria-label={t.__('Ask the platforms now')} title={t.__('Ask the platforms now')} onClick={refresh}>
        <svg width="16" height="16" viewBox="0 0 24 24" aria-hidden="true">
          <path d="M20 12a8 8 0 1 1-2.3-5.6M20 3v5h-5" fill="none" stroke="currentColor" stroke-width="2" />
        </svg>
      </button>
    </header>
  );
}

/** What stands between the person and a live panel, and what to do about it. */
function Notice(props: { view: IView }) {
  const { t, store } = useHouse();
  const { link, parts, linkSince, saved } = props.view;
  if (link === 'connecting' || link === 'live' || (link === 'waiting' && !parts)) {
    return <Keyless platforms={parts?.platforms.items ?? null} />;
  }
  if (link === 'missing') {
    return (
      <div class="gp-note gp-note-error" role="status">
        <p>{t.__("gpuplug's part for the Jupyter server is not there.")}</p>
        <p>{t.__('Install it where Jupyter runs, then start Jupyter anew:')}</p>
        <pre tabIndex={0}>pip install 'gpuplug[lab]'</pre>
      </div>
    );
  }
  const since = new Date(linkSince).toLocaleTimeString();
  const kept = saved === null ? '' : new Date(saved).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  const words = {
    forbidden: t.__('The Jupyter server refuses: sign in again, or ask who runs it for the right to use gpuplug.'),
    offline: t.__('The Jupyter server does not answer since %1.', since),
    waiting: kept
      ? t.__('Saved at %1: no kernel has answered since. What is shown was true then.', kept)
      : t.__('The kernel is busy or gone since %1: what is shown was true then.', since)
  };
  return (
    <div class={`gp-note${link === 'waiting' ? '' : ' gp-note-error'}`} role="status">
      <p>{words[link]}</p>
      {link === 'offline' && parts && <p>{t.__('What is shown may no longer be true; each instance still ends by itself.')}</p>}
      {link === 'offline' && (
        <button type="button" onClick={() => void store.act('refresh all', 'actions/refresh', { parts: ['pods'] })}>
          {t.__('Try again')}
        </button>
      )}
    </div>
  );
}

function Keyless(props: { platforms: readonly IPlatform[] | null }) {
  const { t } = useHouse();
  if (!props.platforms || props.platforms.some(each => each.key)) {
    return null;
  }
  return (
    <div class="gp-note" role="status">
      <p>{t.__('No key of a platform is known: cells run on this computer, free of charge.')}</p>
      <p class="gp-hint">{t.__('Set VAST_API_KEY or RUNPOD_API_KEY where Jupyter starts.')}</p>
    </div>
  );
}

function tabWords(t: ITranslate, tab: Tab): string {
  return { pods: t.__('Pods'), prices: t.__('Prices'), jobs: t.__('Jobs'), spend: t.__('Spend') }[tab];
}

function Tabs(props: { tab: Tab; view: IView; choose(tab: Tab): void }) {
  const { t, id } = useHouse();
  const { parts } = props.view;
  const box = useRef<HTMLDivElement>(null);
  const counts: Partial<Record<Tab, number>> = {
    pods: parts?.pods.items?.filter(each => each.billing).length,
    jobs: parts?.jobs.items?.filter(each => each.state === 'running').length
  };
  const press = (event: KeyboardEvent) => {
    const at = TABS.indexOf(props.tab);
    const goals: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1 + TABS.length, Home: 0, End: TABS.length - 1 };
    const goal = goals[event.key];
    if (goal !== undefined) {
      event.preventDefault();
      const next = TABS[goal % TABS.length];
      props.choose(next);
      box.current?.querySelector<HTMLElement>(`[data-tab=${next}]`)?.focus();
    }
  };
  return (
    <div class="gp-tabs" role="tablist" aria-label={t.__('Parts of the panel')} ref={box} onKeyDown={press}>
      {TABS.map(each => (
        <button
          key={each}
          type="button"
          role="tab"
          data-tab={each}
          aria-selected={each === props.tab}
          aria-controls={`${id}-body`}
          tabIndex={each === props.tab ? 0 : -1}
          onClick={() => props.choose(each)}
        >
          {tabWords(t, each)}
          {counts[each] ? <span class="gp-number"> {counts[each]}</span> : null}
        </button>
      ))}
    </div>
  );
}

/** Whether a person can see `element` now: shown, on the screen, in a tab that is not hidden. */
function useSeen(element: HTMLElement): boolean {
  const [seen, set] = useState(false);
  useEffect(() => {
    let onScreen = false;
    const tell = () => set(onScreen && !document.hidden);
    const observer = new IntersectionObserver(entries => {
      onScreen = entries[entries.length - 1].isIntersecting;
      tell();
    });
    observer.observe(element);
    document.addEventListener('visibilitychange', tell);
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', tell);
    };
  }, [element]);
  return seen;
}
