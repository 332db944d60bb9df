import { IOffer } from './contract';
import { micros } from './money';
import { folded } from './text';

export interface IFilter {
  gpu: string;
  region: string;
  vram: number;
  price: string;
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

const ORDERS: Record<Order, (one: IRow) => number> = {
  price: one => one.price,
  reliability: one => -(one.offer.reliability ?? -1),
  net: one => -(one.offer.down_mbps ?? -1),
  vram: one => -(one.offer.vram_gb ?? -1)
};

/** The rows that meet `filter`, in its order; suspicious ones last in any order, and the cheaper first among equals. */
export function chosen(all: readonly IRow[], filter: IFilter): IRow[] {
  const cap = typedPrice(filter.price);
  const gpu = folded(filter.gpu);
  const region = filter.region.trim().toLowerCase();
  const order = ORDERS[filter.sort];
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
    .sort((one, two) => suspect(one) - suspect(two) || order(one) - order(two) || one.price - two.price);
}
