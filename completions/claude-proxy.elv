
set edit:completion:arg-completer[claude-proxy] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) CLAUDE_PROXY_COMPLETE="elvish" claude-proxy -- $@words) | to-lines
}

