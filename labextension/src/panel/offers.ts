import { IOffer } from './contract';
import { micros } from './money';
import { folded } from './text';

export interface IFilter {
  gpu: string;
  region: string;
  vram: number;
  price: string;
  /** How long it is wanted, and how many GB are sent there: the true price depends on both. */
  hours: string;
  data: string;
  cloud: string;
  platform: string;
  spot: boolean;
  sort: Order;
}

export type Order = 'price' | 'reliability' | 'net' | 'vram';

export const NO_FILTER: IFilter = {
  gpu: '',
  region: '',
  vram: 0,
  price: '',
  hours: '',
  data: '',
  cloud: '',
  platform: '',
  spot: false,
  sort: 'price'
};

/** An offer with what filtering needs, made once for each delivery. */
export interface IRow {
  offer: IOffer;
  price: number;
  gpu: string;
  region: string;
}

/** Make offers ready to be filtered; one without a price that makes sense is left out. */
export function rows(offers: readonly IOffer[]): IRow[] {
  return offers.flatMap(offer => {
    const price = micros(offer.usd_per_hour);
    return price === null ? [] : [{ offer, price, gpu: folded(offer.gpu), region: offer.region.toLowerCase() }];
  });
}

/** Read a price as a person types it: `0.5`, `$0.5`, `,5`; `null` when it is none. */
export function typedPrice(text: string): number | null {
  const found = /^\$?\s*(\d{0,6})(?:[.,](\d{1,6}))?$/.exec(text.trim());
  return found && (found[1] || found[2]) ? micros(`${found[1] || '0'}.${found[2] ?? '0'}`) : null;
}

/** What a person wants it for; one hour and no data when nothing is said. */
export interface ITask {
  hours: number;
  data: number;
  /** Whether anything was said. */
  stated: boolean;
}

/** Read a number as a person types it, up to `most`; `null` when it is none. */
export function typedNumber(text: string, most: number): number | null {
  const found = /^(\d{1,6}(?:[.,]\d{0,3})?|[.,]\d{1,3})$/.exec(text.trim());
  const value = found ? Number(found[1].replace(',', '.')) : NaN;
  return value <= most ? value : null;
}

export const MOST_HOURS = 8760;
export const MOST_GB = 100_000;

/** What `filter` says of it; what makes no sense there says nothing. */
export function task(filter: IFilter): ITask {
  const hours = typedNumber(filter.hours, MOST_HOURS) || 1;
  const data = typedNumber(filter.data, MOST_GB) ?? 0;
  return { hours, data, stated: hours !== 1 || data > 0 };
}

/** What `row` costs for `task`, GPU, disk and bytes, to the micro-dollar; `null`: the price of its bytes is not known. */
export function total(row: IRow, { hours, data }: ITask): number | null {
  const running = Math.round((row.price * Math.round(hours * 3600)) / 3600);
  if (!data) {
    return running;
  }
  const byte = micros(row.offer.sent_usd_per_gb);
  return byte === null ? null : running + Math.round((byte * Math.round(data * 1000)) / 1000);
}

const ORDERS: Record<Exclude<Order, 'price'>, (one: IRow) => number> = {
  reliability: one => -(one.offer.reliability ?? -1),
  net: one => -(one.offer.down_mbps ?? -1),
  vram: one => -(one.offer.vram_gb ?? -1)
};

/** Infinity minus Infinity is no number. */
const compare = (one: number, two: number) => (one < two ? -1 : one > two ? 1 : 0);

/** The rows that meet `filter`, in its order; suspicious ones last in any order, and the cheaper first among equals. */
export function chosen(all: readonly IRow[], filter: IFilter): IRow[] {
  const cap = typedPrice(filter.price);
  const gpu = folded(filter.gpu);
  const region = filter.region.trim().toLowerCase();
  const wanted = task(filter);
  const cost = wanted.data ? (row: IRow) => total(row, wanted) ?? Infinity : (row: IRow) => row.price;
  const order = filter.sort === 'price' ? cost : ORDERS[filter.sort];
  const meets = ({ offer, price, ...row }: IRow) =>
    row.gpu.includes(gpu) &&
    (cap === null || price <= cap) &&
    (offer.vram_gb ?? 0) >= filter.vram &&
    (!filter.cloud || offer.cloud === filter.cloud) &&
    (!filter.platform || offer.platform === filter.platform) &&
    (!filter.spot || offer.spot) &&
    row.region.includes(region);
  const suspect = (row: IRow) => (row.offer.suspicious ? 1 : 0);
  return all
    .filter(meets)
    .sort((one, two) => suspect(one) - suspect(two) || compare(order(one), order(two)) || compare(cost(one), cost(two)));
}
