# The Tandem worker and CLI, installed from its npm package. It needs no database, no disk and no root: an OpenSSH client
# and the keys mounted to ~/.ssh.
# The digest is that of the image for amd64 and arm64, as others publish it; it was not pulled where Tandem is tested.
FROM node:24.21.0-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20 AS build
WORKDIR /source
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . ./
RUN npm pack --pack-destination /tmp

FROM node:24.21.0-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates openssh-client rsync \
  && rm -rf /var/lib/apt/lists/*
# Whoever may read the mounted keys: ssh reads keys of its own user only, and refuses a uid without a name.
ARG TANDEM_UID=1000
RUN usermod --uid $TANDEM_UID --login tandem --home /home/tandem --move-home node && groupmod --new-name tandem node
COPY --from=build /tmp/tandem-*.tgz /tmp/
RUN npm install --global --no-fund --no-audit /tmp/tandem-*.tgz && rm /tmp/tandem-*.tgz
ENV NODE_ENV=production HOME=/home/tandem
WORKDIR /home/tandem
USER tandem
ENTRYPOINT ["tandem"]
CMD ["worker"]
