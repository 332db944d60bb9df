import { memo } from 'preact/compat';
import { Ago, IHouse, useHouse, useNow } from './house';
import { dollars, micros, rate, running } from './money';
import { copied, duration, gpus, ITranslate, moment } from './text';
import { Frame } from './frame';
import { IGauges, IGpuGauge, IPart, IPod, PodAction, PodState } from './contract';
import { IView } from './store';
import { List } from './list';
import { Meter } from './chart';

const HEIGHT = 184;
const GAUGE = 32;
const HOUR_S = 3600;

/** Every instance, what it costs and what can be done with it. */
export function Pods(props: { view: IView; part: IPart<IPod> | null }) {
  const { t, show } = useHouse();
  const items = props.part?.items ?? null;
  const empty = (
    <>
      <p>{t.__('Nothing is rented, nothing bills.')}</p>
      <button type="button" onClick={() => show('prices')}>
        {t.__('Look at prices')}
      </button>
    </>
  );
  return (
    <Frame name="pods" frame={props.part} count={items?.length ?? null} empty={empty}>
      <List
        rows={items ?? []}
        height={HEIGHT + GAUGE * Math.max(0, ...(items ?? []).map(pod => pod.gauges?.gpus.length ?? 0))}
        label={t.__('Instances')}
        keyOf={pod => pod.id}
        draw={(pod, active) => <Pod pod={pod} active={active} sent={sentFor(props.view, pod)} />}
      />
    </Frame>
  );
}

const sentFor = (view: IView, pod: IPod) =>
  ACTIONS.map(action => view.sent.get(`${action} ${pod.id}`)).find(each => each !== undefined);

export function stateWords(t: ITranslate, state: PodState): string {
  const words: Record<PodState, string> = {
    asked: t.__('asked for'),
    booting: t.__('booting'),
    running: t.__('running'),
    stopped: t.__('stopped'),
    destroying: t.__('destroying'),
    gone: t.__('gone (verified)'),
    failed: t.__('failed'),
    stranger: t.__('of another computer'),
    unlisted: t.__('not listed'),
    unknown: t.__('not known')
  };
  return words[state] ?? state;
}

const Pod = memo(function Pod(props: { pod: IPod; active: boolean; sent: 'sent' | 'waiting' | undefined }) {
  const { t } = useHouse();
  const { pod, sent } = props;
  const names = [pod.platform, pod.number ? `#${pod.number}` : '', pod.name ?? '', pod.notebook ?? ''].filter(Boolean);
  const state = stateWords(t, pod.state);
  const says = [pod.state_text, pod.phase ?? ''].filter(each => each && each !== pod.state && each !== state);
  return (
    <article class="gp-pod" aria-label={`${gpus(pod.gpu, pod.gpu_count)}, ${state}`}>
      <div class="gp-row">
        <strong class="gp-grow gp-cut">{gpus(pod.gpu, pod.gpu_count)}</strong>
        {pod.billing && <span class="gp-price">{rate(micros(pod.usd_per_hour))}/h</span>}
      </div>
      <div class="gp-row">
        <span class={`gp-badge gp-is-${pod.state}`}>{state}</span>
        <small class="gp-cut" title={names.join(' · ')}>
          {names.join(' · ')}
        </small>
      </div>
      {says.length > 0 && <small class="gp-cut">{says.join(' · ')}</small>}
      <div class="gp-facts">
        {pod.created && (
          <span>
            {t.__('made')} <Ago at={pod.created} />
          </span>
        )}
        <Cost pod={pod} />
        {pod.runs && <span>{t.__('a cell runs')}</span>}
        <Checked pod={pod} />
      </div>
      <Lease pod={pod} />
      {pod.gauges && <Gauges gauges={pod.gauges} />}
      <Buttons pod={pod} active={props.active} sent={sent} />
    </article>
  );
});

function Cost(props: { pod: IPod }) {
  const { t } = useHouse();
  const { pod } = props;
  const at = moment(pod.cost_at);
  const now = useNow();
  const cost = running(micros(pod.cost_usd), pod.billing ? micros(pod.usd_per_hour) : 0, at === null ? 0 : now - at);
  return (
    <span data-cost={cost ?? ''}>
      {t.__('%1 so far', dollars(cost, 4))}
      {pod.billing ? '' : ` · ${t.__('not billing')}`}
    </span>
  );
}

/** A state that nobody has confirmed for two minutes is shown with its age. */
function Checked(props: { pod: IPod }) {
  const { t } = useHouse();
  const now = useNow();
  const { checked, state } = props.pod;
  const at = moment(checked);
  if (state === 'gone' || state === 'failed') {
    return null;
  }
  if (at === null) {
    return <span>{t.__('not yet confirmed by the platform')}</span>;
  }
  if (now - at < 120_000) {
    return null;
  }
  return (
    <span>
      {t.__('last confirmed')} <Ago at={checked} />
    </span>
  );
}

function Lease(props: { pod: IPod }) {
  const { t } = useHouse();
  const now = useNow();
  const { pod } = props;
  const [lease, hard] = [moment(pod.lease_ends), moment(pod.hard_ends)];
  if (!pod.billing || (lease === null && hard === null)) {
    return null;
  }
  const end = Math.min(lease ?? Infinity, hard ?? Infinity);
  const left = (end - now) / 1000;
  const whole = (end === lease ? pod.lease_s : pod.hard_s) ?? left;
  const words =
    left <= 0
      ? t.__('its end is due')
      : end === lease
        ? t.__('ends by itself in %1 unless it is used', duration(left))
        : t.__('ends in any case in %1', duration(left));
  return (
    <div class="gp-lease">
      <small>{words}</small>
      <Meter share={whole > 0 ? left / whole : 0} label={t.__('time left')} words={words} alarm={left < 120} />
    </div>
  );
}

function Gauges(props: { gauges: IGauges }) {
  const { t } = useHouse();
  const now = useNow();
  const at = moment(props.gauges.at);
  const old = at !== null && now - at > 15_000;
  return (
    <div class={`gp-gauges${old ? ' gp-old' : ''}`}>
      {props.gauges.gpus.map((gpu, index) => (
        <Gauge key={index} gpu={gpu} index={props.gauges.gpus.length > 1 ? index : null} />
      ))}
      {old && (
        <small>
          {t.__('measured')} <Ago at={props.gauges.at} />
        </small>
      )}
    </div>
  );
}

function Gauge(props: { gpu: IGpuGauge; index: number | null }) {
  const { t } = useHouse();
  const { gpu } = props;
  const gb = (mb: number | null) => (mb === null ? '–' : (mb / 1024).toFixed(1));
  const use = gpu.use_percent === null ? '–' : `${gpu.use_percent} %`;
  return (
    <div class="gp-gauge">
      <Meter share={(gpu.use_percent ?? 0) / 100} label={t.__('GPU use')} words={use} />
      <small class="gp-cut">
        {props.index === null ? t.__('GPU') : t.__('GPU %1', props.index)} {use} · {gb(gpu.vram_used_mb)}/{gb(gpu.vram_total_mb)} GB
        {gpu.temperature_c === null ? '' : ` · ${Math.round(gpu.temperature_c)} °C`}
        {gpu.power_w === null ? '' : ` · ${Math.round(gpu.power_w)} W`}
      </small>
    </div>
  );
}

const ACTIONS: readonly PodAction[] = ['extend', 'start', 'stop', 'destroy', 'adopt', 'ssh'];

function Buttons(props: { pod: IPod; active: boolean; sent: 'sent' | 'waiting' | undefined }) {
  const house = useHouse();
  const { t } = house;
  const { pod, sent } = props;
  const words: Record<PodAction, string> = {
    extend: t.__('+1 h'),
    start: t.__('Start'),
    stop: t.__('Stop'),
    destroy: t.__('Destroy'),
    adopt: t.__('Adopt'),
    ssh: t.__('SSH')
  };
  return (
    <div class="gp-row gp-buttons">
      {ACTIONS.filter(action => pod.may[action]).map(action => (
        <button
          key={action}
          type="button"
          class={action === 'destroy' ? 'gp-danger' : ''}
          tabIndex={props.active ? 0 : -1}
          disabled={sent !== undefined}
          aria-label={t.__('%1: %2', words[action], gpus(pod.gpu, pod.gpu_count))}
          onClick={() => begin(house, pod, action)}
        >
          {words[action]}
        </button>
      ))}
      {sent === 'waiting' && <small role="status">{t.__('queued until the cell ends')}</small>}
    </div>
  );
}

/** Ask what must be asked, then send `action`. */
export function begin(house: IHouse, pod: IPod, action: PodAction): void {
  if (action === 'ssh') {
    void copySsh(house, pod);
    return;
  }
  const { t, store } = house;
  const model = gpus(pod.gpu, pod.gpu_count);
  const hourly = micros(pod.usd_per_hour);
  const titles: Record<PodAction, string> = {
    extend: t.__('Let %1 run one hour longer?', model),
    start: t.__('Start %1?', model),
    stop: t.__('Stop %1?', model),
    destroy: t.__('Destroy %1?', model),
    adopt: t.__('Adopt %1?', model),
    ssh: ''
  };
  const own: Partial<Record<PodAction, string>> = {
    extend: t.__('Its end in any case is put off by one hour: at most %1 more.', dollars(hourly)),
    destroy: t.__('What is on it and has not come home is lost. It bills until the platform has shown that it is gone.'),
    adopt: t.__('Its cost and its end then count on this computer. No cell can run on it from here.')
  };
  const told = [pod.may[action]?.text ?? own[action] ?? '', `${pod.platform} #${pod.number ?? pod.id}`];
  const body = action === 'extend' ? { id: pod.id, seconds: HOUR_S } : { id: pod.id };
  const verbs: Record<PodAction, string> = {
    extend: t.__('Extend'),
    start: t.__('Start'),
    stop: t.__('Stop'),
    destroy: t.__('Destroy'),
    adopt: t.__('Adopt'),
    ssh: ''
  };
  house.ask({
    title: titles[action],
    lines: told.filter(Boolean),
    verb: verbs[action],
    danger: action === 'destroy',
    run: () => void store.act(`${action} ${pod.id}`, `actions/${action}`, body)
  });
}

async function copySsh(house: IHouse, pod: IPod): Promise<void> {
  const { t, store } = house;
  const made = await store.act<{ command: string; text: string }>(`ssh ${pod.id}`, 'ssh', { id: pod.id });
  if (!made) {
    return;
  }
  const done = await copied(made.command);
  house.ask({
    title: t.__('SSH to %1', gpus(pod.gpu, pod.gpu_count)),
    lines: [done ? t.__('Copied: paste it in a terminal.') : t.__('Copy this to a terminal.'), made.text],
    command: made.command
  });
}
