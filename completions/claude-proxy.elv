
use builtin;
use str;

set edit:completion:arg-completer[claude-proxy] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'claude-proxy'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'claude-proxy'= {
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand serve 'Serve the Anthropic API, answered by the upstreams of the configuration'
            cand demo 'Show a whole exchange with a built-in model: nothing to configure'
            cand convert 'Convert a captured request, answer, stream or error, as serve would'
            cand check-config 'Check configuration files: every mistake with line and column'
            cand models 'List the models of the configuration'
            cand ping-upstream 'Send a small real request to upstreams and show how it went'
            cand completions 'Print the completion script for a shell'
        }
        &'claude-proxy;serve'= {
            cand --host 'Address to listen on, instead of the configuration''s `host`'
            cand --port 'Port to listen on, instead of the configuration''s `port`; 0: any free one'
            cand --capture 'Write each exchange into a folder of its own below DIR, for `convert`: requests, answers and their times, with keys removed'
            cand --capture-max-mb 'Most that is kept in the --capture directory, in MiB; the oldest exchanges go first'
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand --demo 'Serve a built-in demo upstream as model `demo`; reads no configuration'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;demo'= {
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;convert'= {
            cand --from 'What the input is, instead of finding out'
            cand --to 'What to make of it, where there is a choice'
            cand --profile 'The upstream''s profile [default: that of --model, else generic]'
            cand --model 'Use this model of the configuration: its profile, remote id and settings'
            cand --request 'The Anthropic request that the answer belongs to: model name, thinking, stop sequences, tools'
            cand --status 'HTTP status that an OpenAI error came with [default: as its body says]'
            cand -o 'Write here instead of to standard output; whole or not at all'
            cand --output 'Write here instead of to standard output; whole or not at all'
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand --whole 'Fold a stream into one message'
            cand --report 'List on stderr what was changed or lost on the way'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;check-config'= {
            cand --format 'How findings look'
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand --strict 'Warnings fail too'
            cand --json 'The same as --format json'
            cand --schema 'Print the JSON Schema of the configuration, for editors, and check nothing'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;models'= {
            cand --timeout 'With --remote: longest wait for a list, in seconds'
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand --remote 'Ask each provider for its own list and mark what is missing there'
            cand --json 'The list as JSON'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;ping-upstream'= {
            cand -n 'Measure that many times; shows median, least and most'
            cand --count 'Measure that many times; shows median, least and most'
            cand --timeout 'Longest wait for one answer, in seconds'
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand --all 'Every model of the configuration'
            cand --quick 'Only measure: do not find out what the upstream can do'
            cand --suggest 'Print only what to set in the configuration: entries of `providers`, to be merged'
            cand --json 'Results as JSON'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'claude-proxy;completions'= {
            cand --config 'Configuration file [default: $CONFIG_PATH, else config.json]'
            cand --log-level 'What is logged: error, warn, info, debug, trace, or a filter such as info,claude_proxy::body=off'
            cand --log-format 'How log lines look'
            cand --color 'When to use colour; auto: on a terminal, unless NO_COLOR is set'
            cand -q 'Only results and errors'
            cand --quiet 'Only results and errors'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
    ]
    $completions[$command]
}
