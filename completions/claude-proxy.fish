# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_claude_proxy_global_optspecs
    string join \n config= log-level= log-format= color= q/quiet h/help V/version
end

function __fish_claude_proxy_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_claude_proxy_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_claude_proxy_using_subcommand
    set -l cmd (__fish_claude_proxy_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -s V -l version -d 'Print version'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "serve" -d 'Serve the Anthropic API, answered by the upstreams of the configuration'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "demo" -d 'Show a whole exchange with a built-in model: nothing to configure'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "convert" -d 'Convert a captured request, answer, stream or error, as serve would'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "check-config" -d 'Check configuration files: every mistake with line and column'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "models" -d 'List the models of the configuration'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "ping-upstream" -d 'Send a small real request to upstreams and show how it went'
complete -c claude-proxy -n "__fish_claude_proxy_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l host -d 'Address to listen on, instead of the configuration\'s `host`' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l port -d 'Port to listen on, instead of the configuration\'s `port`; 0: any free one' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l capture -d 'Write each exchange into a folder of its own below DIR, for `convert`: requests, answers and their times, with keys removed' -r -f -a "(__fish_complete_directories)"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l capture-max-mb -d 'Most that is kept in the --capture directory, in MiB; the oldest exchanges go first' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -l demo -d 'Serve a built-in demo upstream as model `demo`; reads no configuration'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l from -d 'What the input is, instead of finding out' -r -f -a "anthropic-request\t'A body of POST /v1/messages'
openai-response\t'A whole Chat Completion'
openai-sse\t'A capture of a streamed Chat Completion'
openai-error\t'A body of an OpenAI error'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l to -d 'What to make of it, where there is a choice' -r -f -a "openai-request\t'A body of POST /v1/chat/completions'
anthropic-message\t'One Anthropic message'
anthropic-sse\t'Anthropic\'s event stream'
anthropic-error\t'Anthropic\'s error JSON'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l profile -d 'The upstream\'s profile [default: that of --model, else generic]' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l model -d 'Use this model of the configuration: its profile, remote id and settings' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l request -d 'The Anthropic request that the answer belongs to: model name, thinking, stop sequences, tools' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l status -d 'HTTP status that an OpenAI error came with [default: as its body says]' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -s o -l output -d 'Write here instead of to standard output; whole or not at all' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l whole -d 'Fold a stream into one message'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -l report -d 'List on stderr what was changed or lost on the way'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand convert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l format -d 'How findings look' -r -f -a "text\t'As full on a terminal, else as short'
full\t'With the line of the file, a caret and what to do'
short\t'A line for each finding'
json\t'One JSON object'
github\t'Annotations of a GitHub Actions job'
sarif\t'A SARIF 2.1.0 log, for code scanning'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l strict -d 'Warnings fail too'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l json -d 'The same as --format json'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -l schema -d 'Print the JSON Schema of the configuration, for editors, and check nothing'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l timeout -d 'With --remote: longest wait for a list, in seconds' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l remote -d 'Ask each provider for its own list and mark what is missing there'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -l json -d 'The list as JSON'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand models" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -s n -l count -d 'Measure that many times; shows median, least and most' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l timeout -d 'Longest wait for one answer, in seconds' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l all -d 'Every model of the configuration'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l quick -d 'Only measure: do not find out what the upstream can do'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l suggest -d 'Print only what to set in the configuration: entries of `providers`, to be merged'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -l json -d 'Results as JSON'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand ping-upstream" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -l config -d 'Configuration file [default: $CONFIG_PATH, else config.json]' -r -F
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -l log-level -d 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off' -r
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -l log-format -d 'How log lines look' -r -f -a "text\t'For people'
json\t'One JSON object a line'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -l color -d 'When to use colour; auto: on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also into files and pipes'
never\t'Never'"
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -s q -l quiet -d 'Only results and errors'
complete -c claude-proxy -n "__fish_claude_proxy_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
