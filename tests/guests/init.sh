#!/busybox/busybox sh
# Process 1 of a guest: loads the modules, then does what the second serial line says.
#
# A line in is a number and a command.  What comes out is all that the command says, and then the
# octet 1, the number and the command's exit status.
/busybox/busybox --install -s /busybox
export PATH=/busybox HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
for module in /modules/*.ko; do
    insmod "$module" || echo "init: cannot load $module"
done
ip link set lo up
. /prepare
# The answers to the host are all that may be sent here.
stty -F /dev/ttyS1 raw -echo 115200
exec 3</dev/ttyS1 4>/dev/ttyS1
echo "init: ready at $(cut -d' ' -f1 /proc/uptime)"
printf '\001ready\n' >&4
while read -r number command <&3; do
    (eval "$command") </dev/null >&4 2>&1 3<&-
    printf '\001%s %s\n' "$number" "$?" >&4
done
poweroff -f
