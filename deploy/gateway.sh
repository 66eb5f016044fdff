#!/bin/sh
# Starts nginx on the template once every service's name is known, and lets it look the names up again when their
# addresses change: it reads them at its start alone. The addresses it knows stand in $NGINX_TEMP/addresses.
set -eu
names() { printf '%s\n' "$CART_UPSTREAM" "$CHECKOUT_UPSTREAM" "$ORDERS_UPSTREAM" "$STOREFRONT_UPSTREAM" | cut -d: -f1; }
addresses() {
    for name in $(names); do timeout 5 getent ahostsv4 "$name" || true; done | awk '$2 == "STREAM" { print $1 }' | sort -u
}

for name in $(names); do
    told=
    until getent ahostsv4 "$name" > /dev/null; do
        [ "$told" ] || echo "{\"process\":\"gateway\",\"event\":\"waiting\",\"for\":\"the name $name\"}" >&2
        told=yes
        sleep 0.5
    done
done

conf=$NGINX_TEMP/nginx.conf
envsubst '${CART_UPSTREAM} ${CHECKOUT_UPSTREAM} ${ORDERS_UPSTREAM} ${STOREFRONT_UPSTREAM}
    ${LISTEN} ${TILLROLL_ORIGINS} ${RATE_PER_SECOND} ${RATE_BURST} ${NGINX_TEMP} ${TRUSTED_PROXY}' < /etc/tillroll/nginx.conf > "$conf"

known=$(addresses)
echo "$known" > "$NGINX_TEMP/addresses"
while sleep 1; do
    now=$(addresses)
    # nginx refuses a name without an address and goes on as it was
    if [ "$now" != "$known" ] && nginx -q -c "$conf" -s reload; then
        echo '{"process":"gateway","event":"addresses_changed"}' >&2
        known=$now
        echo "$known" > "$NGINX_TEMP/addresses"
    fi
done &
exec nginx -c "$conf" -g 'daemon off;'
