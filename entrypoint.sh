#!/bin/sh
# The image's door, and /root/yichuidingyin.sh: without words the menu, with words a command; a full path is run as it is.
set -eu
home=${APPLIANCE_HOME:-/data}
if ! [ -w "$home" ]; then
  me=$(id -u):$(id -g)
  echo "$home can't be written by user $me, so nothing can be kept." \
    "On the host: sudo chown -R $me FOLDER   (the folder that is mounted at $home)" >&2
  echo "用户 $me 不能写入 $home，任何结果都无法保存。" \
    "请在宿主机上执行：sudo chown -R $me 目录   （挂载到 $home 的那个目录）" >&2
fi
# Libraries keep caches in HOME; the user may be any.
[ -w "${HOME:-/nonexistent}" ] || HOME=$home
[ -w "$HOME" ] || HOME=/tmp
export HOME
case ${1-} in
  /*) exec "$@" ;;
  *) exec appliance "$@" ;;
esac
