import { ServiceManager } from '@jupyterlab/services';
import { isNamed } from '../panel/cancel';

/** Interrupt the kernel of the notebook that the ledger calls `name`; `false` when it is not one kernel of this server, for sure. */
export async function interrupt(services: ServiceManager.IManager, name: string): Promise<boolean> {
  await services.sessions.refreshRunning();
  const found = [...services.sessions.running()].filter(each => each.kernel && isNamed(each.path, name));
  if (found.length !== 1) {
    return false;
  }
  const session = services.sessions.connectTo({ model: found[0] });
  try {
    await session.kernel?.interrupt();
    return session.kernel !== null;
  } finally {
    session.dispose();
  }
}
