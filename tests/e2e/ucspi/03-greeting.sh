#!/bin/sh
# A dialogue: a greeting, and an answer to each line until QUIT, as of SMTP.
printf '220 ready\r\n'
while read -r verb rest; do
    case $verb in
        QUIT*) printf '221 bye\r\n'; exit 0 ;;
        *) printf '250 %s %s\r\n' "$verb" "$rest" ;;
    esac
done
