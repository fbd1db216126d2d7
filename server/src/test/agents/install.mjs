// usage: install.mjs FOLDER [PROGRAM...]   installs the packages of each program in a folder of its own
import {execFileSync} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {chosen} from './programs.mjs';

const [work, ...names] = process.argv.slice(2);
for (const program of chosen(names)) {
  const folder = join(work, 'npm', program.folder);
  const wanted = JSON.stringify({private: true, type: 'module', dependencies: program.packages}, null, 2);
  mkdirSync(folder, {recursive: true});
  writeFileSync(join(folder, 'package.json'), wanted);
  const marker = join(folder, 'installed.json');
  if (!existsSync(marker) || readFileSync(marker, 'utf8') !== wanted) {
    console.log(`installing ${Object.entries(program.packages).map(([name, version]) => `${name}@${version}`).join(' ')}`);
    execFileSync('npm', ['install', '--no-fund', '--no-audit', '--no-update-notifier', '--loglevel=error'],
        {cwd: folder, stdio: ['ignore', 'ignore', 'inherit']});
    writeFileSync(marker, wanted);
  }
  cpSync(new URL('./libraries/', import.meta.url), folder, {recursive: true});
}
