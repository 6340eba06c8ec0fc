# SPDX-License-Identifier: MIT
# Bash completion for vmtidectl(1).

_vmtidectl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local common='--json --no-ask-password --bus --version --help'
    local verbs='status watch plug unplug set-limits reserve reservations pause resume explain monitor doctor host'
    local of_host='list show watch set-limits set-weight shrink pause resume doctor'
    local -A options=(
        [watch]='--count' [plug]='--why' [unplug]='--why' [set-limits]='--min --max --persist --reset' [reserve]='--why'
        [pause]='--why --for' [explain]='--count' [monitor]='--count' [doctor]='--root'
        [host watch]='--count' [host set-limits]='--min --max --persist --reset' [host set-weight]='--persist'
        [host shrink]='--why' [host pause]='--why --for' [host doctor]='--root'
    )
    local verb='' word i

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == -- ]]; then
            # After it comes a command, with its own words.
            COMPREPLY=($(compgen -c -- "$cur"))
            return
        fi
        [[ $verb != host || $word == -* ]] || verb="host $word"
        [[ -n $verb || $word == -* || ${COMP_WORDS[i - 1]} == --bus ]] || verb=$word
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$common ${options[${verb:-status}]-}" -- "$cur"))
        return
    fi
    case $prev in
    --root)
        COMPREPLY=($(compgen -d -- "$cur"))
        return
        ;;
    --min | --max | plug | unplug)
        COMPREPLY=($(compgen -W '256M 512M 1G 2G 4G' -- "$cur"))
        return
        ;;
    --for)
        COMPREPLY=($(compgen -W '10min 1h' -- "$cur"))
        return
        ;;
    --why | --count | --bus | -n) return ;;
    esac
    [[ -n $verb ]] || COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
    [[ $verb != host ]] || COMPREPLY=($(compgen -W "$of_host" -- "$cur"))
}
complete -F _vmtidectl vmtidectl
