import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ILauncher } from '@jupyterlab/launcher';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Widget } from '@lumino/widgets';
import { allowDesktop, watchCells } from './notify';
import { hasCell, notebookPath, toggle } from './cell';
import { Follower } from './follow';
import { gpuIcon } from './icon';
import { inShort } from '../panel/spend';
import { ITranslate } from '../panel/text';
import { jupyterWire } from './wire';
import { lend } from './lend';
import { mount } from '../panel/panel';
import { Store } from '../panel/store';

const ID = 'gpuplug:plugin';
const PANEL = 'gpuplug-panel';

interface ISettings {
  cellOptions: string;
  notifyAfterSeconds: number;
}

/** The sidebar; drawn when it is first shown, so that a start of JupyterLab pays nothing for it. */
function sidebar(store: Store, t: ITranslate): Widget {
  const widget = new Widget();
  widget.id = PANEL;
  widget.title.icon = gpuIcon;
  widget.title.caption = t.__('Remote GPUs');
  widget.node.setAttribute('role', 'region');
  widget.node.setAttribute('aria-label', t.__('Remote GPUs'));
  const memory = {
    get: (key: string) => window.localStorage.getItem(`gpuplug:${key}`),
    set: (key: string, value: string) => window.localStorage.setItem(`gpuplug:${key}`, value)
  };
  const unmount = mount(widget.node, { store, t, memory, shape: 'sidebar' });
  widget.disposed.connect(() => unmount());
  return widget;
}

/** `GPU $0.31/h - 1 pod` at the bottom; a press opens the panel. */
function statusItem(app: JupyterFrontEnd, store: Store, t: ITranslate): Widget {
  const item = new Widget({ node: document.createElement('button') });
  item.addClass('gp-status');
  item.node.title = t.__('Remote GPUs: what is spent now');
  item.node.onclick = () => void app.commands.execute('gpuplug:open');
  const draw = () => {
    const short = inShort(t, store.view.parts?.spend ?? null);
    const doubt = store.view.link === 'live' ? '' : ' ?';
    const text = short ? `GPU ${short.text}${doubt}` : t.__('GPU –');
    if (item.node.textContent !== text) {
      item.node.textContent = text;
      item.toggleClass('gp-billing', short?.billing ?? false);
    }
  };
  draw();
  item.disposed.connect(store.listen(draw));
  return item;
}

function addCommands(app: JupyterFrontEnd, settings: ISettings, t: ITranslate): string[] {
  const describedBy = { args: { type: 'object', properties: {} } } as const;
  app.commands.addCommand('gpuplug:open', {
    label: t.__('Remote GPUs: prices, pods and spend'),
    caption: t.__('Show what can be rented, what runs and what it costs'),
    icon: gpuIcon,
    execute: () => app.shell.activateById(PANEL),
    describedBy
  });
  app.commands.addCommand('gpuplug:toggle-cell', {
    label: args => (args.toolbar ? '' : t.__('Run This Cell on a GPU')),
    caption: t.__('Run this cell on a GPU: add %1, or take it away', '%%remote_gpu'),
    icon: gpuIcon,
    isEnabled: () => hasCell(app),
    execute: () => toggle(app, settings.cellOptions),
    describedBy
  });
  app.commands.addCommand('gpuplug:allow-notifications', {
    label: t.__('Remote GPUs: tell on the desktop when a long cell ends'),
    execute: async () => {
      Notification.emit(await allowDesktop(t), 'info', { autoClose: 8000 });
    },
    describedBy
  });
  return ['gpuplug:open', 'gpuplug:toggle-cell', 'gpuplug:allow-notifications'];
}

async function follow(registry: ISettingRegistry | null, settings: ISettings): Promise<void> {
  const loaded = await registry?.load(ID).catch(() => undefined);
  const read = () => {
    settings.cellOptions = String(loaded?.composite.cellOptions ?? settings.cellOptions);
    settings.notifyAfterSeconds = Number(loaded?.composite.notifyAfterSeconds ?? settings.notifyAfterSeconds);
  };
  loaded?.changed.connect(read);
  read();
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'GPU prices, running instances and spend',
  autoStart: true,
  optional: [ILayoutRestorer, ICommandPalette, ISettingRegistry, IStatusBar, ILauncher, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    registry: ISettingRegistry | null,
    statusBar: IStatusBar | null,
    launcher: ILauncher | null,
    translator: ITranslator | null
  ) => {
    const t = (translator ?? nullTranslator).load('gpuplug');
    const settings: ISettings = { cellOptions: '', notifyAfterSeconds: 60 };
    const open = (path: string) => void app.commands.execute('docmanager:open', { path }).catch(() => undefined);
    const follower = new Follower(jupyterWire(app.serviceManager, t, () => notebookPath(app), open), t);
    const store = new Store(follower);
    const category = t.__('Remote GPUs');
    for (const command of addCommands(app, settings, t)) {
      palette?.addItem({ command, category });
    }
    const panel = sidebar(store, t);
    app.shell.add(panel, 'left', { rank: 600, type: 'Remote GPUs' });
    restorer?.add(panel, PANEL);
    launcher?.add({ command: 'gpuplug:open', category: t.__('Other'), rank: 50 });
    statusBar?.registerStatusItem('gpuplug:spend', {
      item: statusItem(app, store, t),
      align: 'right',
      rank: 100
    });
    lend(follower);
    watchCells(store, settings, t, (words, job) => {
      Notification.emit(words, job.state === 'ok' ? 'success' : 'warning', { autoClose: 8000 });
    });
    void follow(registry, settings);
  }
};

export default plugin;
