# Every interactive bash, login shell or not.
[ -n "${PS1-}" ] || return
shopt -s checkwinsize
PS1='\[\e[38;5;110m\]\u@${HOSTNAME}\[\e[0m\]:\[\e[38;5;150m\]\w\[\e[0m\]\$ '
. /etc/profile.d/oriel-identity.sh
