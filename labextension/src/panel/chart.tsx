/** Charts drawn by hand as SVG; each has its numbers in words too. */
import { useHouse } from './house';
import { dollars, micros, rate } from './money';
import { moment } from './text';
import { ISeries } from './contract';

/** The points of a line through `samples` in a box of `width` by `height`; time runs evenly, the line is a staircase as prices are. */
export function staircase(samples: readonly [number, number][], width: number, height: number): string {
  if (samples.length < 2) {
    return '';
  }
  const [start, end] = [samples[0][0], samples[samples.length - 1][0]];
  const prices = samples.map(each => each[1]);
  const [low, high] = [Math.min(...prices), Math.max(...prices)];
  const x = (time: number) => (((time - start) / (end - start || 1)) * width).toFixed(1);
  const y = (price: number) => (height - 1 - ((price - low) / (high - low || 1)) * (height - 2)).toFixed(1);
  return samples.map(([time, price], index) => (index ? `H${x(time)}V${y(price)}` : `M${x(time)} ${y(price)}`)).join('');
}

const LINES = new WeakMap<ISeries, { path: string; words: [number, number, number] } | null>();

function line(series: ISeries) {
  const known = LINES.get(series);
  if (known !== undefined) {
    return known;
  }
  const samples = series.samples.flatMap(([time, price]): [number, number][] => {
    const [at, amount] = [moment(time), micros(price)];
    return at === null || amount === null ? [] : [[at, amount]];
  });
  const prices = samples.map(each => each[1]);
  const path = staircase(samples, 56, 16);
  const made = path
    ? { path, words: [prices[prices.length - 1], Math.min(...prices), Math.max(...prices)] as [number, number, number] }
    : null;
  LINES.set(series, made);
  return made;
}

/** How the lowest price of this kind of machine went. */
export function Spark(props: { series: ISeries | undefined }) {
  const { t } = useHouse();
  const drawn = props.series ? line(props.series) : null;
  if (!drawn) {
    return null;
  }
  const [now, low, high] = drawn.words.map(each => rate(each));
  return (
    <svg
      class="gp-spark"
      width="56"
      height="16"
      viewBox="0 0 56 16"
      role="img"
      aria-label={t.__('lowest price per GPU and hour: now %1, between %2 and %3', now, low, high)}
    >
      <path d={drawn.path} fill="none" stroke="currentColor" stroke-width="1.5" />
    </svg>
  );
}

/** Spend by day as columns. */
export function Days(props: { days: readonly { day: string; usd: string }[] }) {
  const { t } = useHouse();
  const days = props.days.slice(-30);
  const amounts = days.map(each => micros(each.usd) ?? 0);
  const most = Math.max(...amounts, 1);
  const [width, height] = [240, 48];
  const step = width / Math.max(days.length, 7);
  const words = days
    .map((each, index) => ({ day: each.day, amount: amounts[index] }))
    .filter(each => each.amount > 0)
    .map(each => `${each.day}: ${dollars(each.amount)}`)
    .join(', ');
  return (
    <figure class="gp-days">
      <svg
        width="100%"
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={t.__('spent by day: %1', words || t.__('nothing'))}
      >
        {amounts.map((amount, index) => {
          const size = amount > 0 ? Math.max(2, (amount / most) * (height - 2)) : 0;
          return (
            <rect x={index * step + 1} y={height - size} width={step - 2} height={size} fill="currentColor">
              <title>{`${days[index].day}: ${dollars(amount)}`}</title>
            </rect>
          );
        })}
      </svg>
      {days.length > 0 && (
        <figcaption>
          <span>{days[0].day.slice(5)}</span>
          <span>{t.__('most in a day: %1', dollars(Math.max(...amounts, 0), 4))}</span>
          <span>{days[days.length - 1].day.slice(5)}</span>
        </figcaption>
      )}
    </figure>
  );
}

/** A bar that is `share` (0 to 1) full, read out as `words`. */
export function Meter(props: { share: number; label: string; words: string; alarm?: boolean }) {
  const share = Math.max(0, Math.min(1, props.share));
  return (
    <div
      class={`gp-meter${props.alarm ? ' gp-alarm' : ''}`}
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
      aria-valuetext={props.words}
    >
      <div style={{ width: `${share * 100}%` }} />
    </div>
  );
}
