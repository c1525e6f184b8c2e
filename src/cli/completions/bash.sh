_claude_proxy() {
    # Bash makes words of their own of `=` and `:` and of what stands around them; here they are
    # put together again, up to the cursor.
    local IFS=$'\013' rest="${COMP_LINE:0:COMP_POINT}" words=() word trimmed i
    for (( i = 0; i <= COMP_CWORD; i++ )); do
        trimmed="${rest#"${rest%%[![:space:]]*}"}"
        word="${COMP_WORDS[i]}"
        (( i < COMP_CWORD )) || word="$trimmed"
        if (( i == 0 )) || [[ "$trimmed" != "$rest" ]]; then
            words+=("$word")
        else
            words[${#words[@]}-1]+="$word"
        fi
        rest="${trimmed#"$word"}"
    done
    local index=$(( ${#words[@]} - 1 ))
    COMPREPLY=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$index" \
        CLAUDE_PROXY_COMPLETE=bash \
        claude-proxy -- "${words[@]}" 2>/dev/null \
    ) )
    if [[ $? != 0 ]]; then
        unset COMPREPLY
        return
    fi
    # What bash has split off already is not completed again.
    local current="${words[index]}" breaks=
    [[ "$COMP_WORDBREAKS" != *=* ]] || breaks+='='
    [[ "$COMP_WORDBREAKS" != *:* ]] || breaks+=':'
    if [[ -n "$breaks" && "$current" == *["$breaks"]* ]]; then
        local prefix="${current%"${current##*["$breaks"]}"}"
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
    # More may follow these.
    if [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" != *[=/:] ]]; then
        compopt +o nospace 2>/dev/null || COMPREPLY[0]+=' '
    fi
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _claude_proxy claude-proxy
else
    complete -o nospace -o bashdefault -F _claude_proxy claude-proxy
fi
