# The desktop's way out: the gateway on the host, which alone knows the upstream proxy and its password.
export HTTP_PROXY=http://192.168.0.1:3128
export HTTPS_PROXY=http://192.168.0.1:3128
export NO_PROXY=localhost,127.0.0.1,192.168.0.0/16
export http_proxy=$HTTP_PROXY https_proxy=$HTTPS_PROXY no_proxy=$NO_PROXY
