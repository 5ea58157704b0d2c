#!/busybox/busybox sh
# What udhcpc calls in a tiny guest: uses the lease, and says it.
case $1 in
bound | renew)
    ip addr flush dev "$interface" scope global
    ip addr add "$ip/$mask" dev "$interface"
    for address in $router; do
        ip route replace default via "$address" dev "$interface"
        break
    done
    echo "leased $ip/$mask"
    ;;
esac
