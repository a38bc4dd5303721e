# /etc/environment may change under an open shell: a desktop gets its SESSION_ID and its host name after it has
# started. An interactive bash reads them again before each prompt, without starting a process; and one that was
# open in a template takes other random numbers than its twins.
if [ -n "${BASH_VERSION-}" ] && [ -n "${PS1-}" ]; then
  __oriel_identity() {
    local status=$? line
    while IFS= read -r line; do
      case $line in
        SESSION_ID=*)
          line=${line#SESSION_ID=}
          line=${line#\"}
          line=${line%\"}
          [ "$line" = "${SESSION_ID-}" ] || RANDOM=$SRANDOM
          export SESSION_ID=$line
          ;;
      esac
    done </etc/environment
    read -r HOSTNAME </etc/hostname
    return $status
  }
  case ${PROMPT_COMMAND-} in
    *__oriel_identity*) ;;
    *) PROMPT_COMMAND="__oriel_identity${PROMPT_COMMAND:+; $PROMPT_COMMAND}" ;;
  esac
elif [ -z "${SESSION_ID-}" ]; then
  while IFS= read -r __line; do
    case $__line in
      SESSION_ID=*)
        __line=${__line#SESSION_ID=}
        __line=${__line#\"}
        export SESSION_ID="${__line%\"}"
        ;;
    esac
  done </etc/environment
  unset __line
fi
