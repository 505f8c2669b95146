#include "datasets/digit_glyphs.h"

#include <array>

namespace voxot {
namespace {

constexpr KnotKind S = KnotKind::start;
constexpr KnotKind o = KnotKind::smooth;
constexpr KnotKind X = KnotKind::corner;

constexpr Knot kZeroFromRight[] = {{S, .46F, .03F}, {o, .22F, .06F}, {o, .03F, .35F},
                                   {o, .06F, .75F}, {o, .30F, .99F}, {o, .56F, .82F},
                                   {o, .64F, .45F}, {o, .50F, .10F}, {o, .34F, .04F}};
constexpr Knot kZeroRound[] = {{S, .34F, .01F}, {o, .10F, .16F}, {o, .00F, .52F},
                               {o, .12F, .88F}, {o, .38F, 1.0F}, {o, .66F, .82F},
                               {o, .74F, .48F}, {o, .62F, .14F}, {o, .36F, .00F}};

constexpr Knot kOneStroke[] = {{S, .30F, .00F}, {o, .30F, .50F}, {o, .30F, 1.0F}};
constexpr Knot kOneFlag[] = {{S, .12F, .24F}, {X, .32F, .00F}, {o, .32F, .50F}, {o, .31F, 1.0F}};
constexpr Knot kOneBase[] = {{S, .12F, .22F}, {X, .32F, .00F}, {o, .32F, .50F},
                             {o, .32F, 1.0F}, {S, .08F, 1.0F}, {o, .56F, .99F}};

constexpr Knot kTwoAngular[] = {{S, .04F, .24F}, {o, .18F, .03F}, {o, .45F, .03F}, {o, .58F, .25F},
                                {o, .42F, .56F}, {X, .00F, .97F}, {o, .34F, .95F}, {o, .68F, .97F}};
constexpr Knot kTwoLooped[] = {{S, .08F, .20F}, {o, .26F, .00F}, {o, .54F, .10F}, {o, .56F, .38F},
                               {o, .36F, .68F}, {o, .12F, .97F}, {o, .00F, .90F}, {o, .14F, .78F},
                               {o, .38F, .92F}, {o, .72F, .94F}};

constexpr Knot kThreeRound[] = {{S, .04F, .14F}, {o, .28F, .00F}, {o, .56F, .12F},
                                {o, .48F, .38F}, {X, .22F, .47F}, {o, .54F, .56F},
                                {o, .62F, .78F}, {o, .36F, .99F}, {o, .00F, .88F}};
constexpr Knot kThreeFlat[] = {{S, .06F, .03F}, {X, .58F, .02F}, {X, .26F, .42F}, {o, .52F, .48F},
                               {o, .64F, .72F}, {o, .40F, .98F}, {o, .02F, .92F}};

constexpr Knot kFourOpen[] = {{S, .10F, .04F}, {o, .05F, .34F}, {X, .04F, .56F}, {o, .36F, .55F},
                              {o, .70F, .52F}, {S, .54F, .02F}, {o, .51F, .50F}, {o, .48F, 1.0F}};
constexpr Knot kFourClosed[] = {{S, .46F, .00F}, {o, .22F, .34F}, {X, .00F, .66F}, {o, .36F, .66F},
                                {o, .72F, .64F}, {S, .48F, .02F}, {o, .48F, .50F}, {o, .47F, 1.0F}};

constexpr Knot kFiveOneStroke[] = {{S, .64F, .01F}, {o, .38F, .02F}, {X, .14F, .03F},
                                   {X, .10F, .43F}, {o, .38F, .38F}, {o, .61F, .60F},
                                   {o, .52F, .88F}, {o, .26F, 1.0F}, {o, .00F, .90F}};
constexpr Knot kFiveCap[] = {{S, .16F, .04F}, {X, .10F, .44F}, {o, .36F, .38F}, {o, .58F, .60F},
                             {o, .50F, .88F}, {o, .24F, 1.0F}, {o, .00F, .88F}, {S, .16F, .05F},
                             {o, .42F, .03F}, {o, .68F, .00F}};

constexpr Knot kSixCurl[] = {{S, .54F, .00F}, {o, .24F, .24F}, {o, .05F, .60F},
                             {o, .12F, .92F}, {o, .38F, .99F}, {o, .57F, .78F},
                             {o, .44F, .57F}, {o, .20F, .62F}, {o, .07F, .80F}};
constexpr Knot kSixUpright[] = {{S, .34F, .00F}, {o, .10F, .28F}, {o, .02F, .66F},
                                {o, .14F, .96F}, {o, .42F, .98F}, {o, .58F, .76F},
                                {o, .42F, .54F}, {o, .16F, .60F}, {o, .04F, .74F}};

constexpr Knot kSevenPlain[] = {
    {S, .00F, .05F}, {o, .30F, .04F}, {X, .62F, .00F}, {o, .42F, .42F}, {o, .26F, 1.0F}};
constexpr Knot kSevenSerif[] = {{S, .00F, .20F}, {X, .04F, .04F}, {o, .32F, .04F},
                                {X, .62F, .02F}, {o, .40F, .44F}, {o, .28F, 1.0F}};
constexpr Knot kSevenBarred[] = {{S, .00F, .05F}, {o, .32F, .04F}, {X, .64F, .00F}, {o, .44F, .44F},
                                 {o, .24F, 1.0F}, {S, .18F, .54F}, {o, .62F, .50F}};

constexpr Knot kEightCrossed[] = {{S, .56F, .12F}, {o, .32F, .00F}, {o, .08F, .16F}, {o, .20F, .40F},
                                  {o, .48F, .60F}, {o, .58F, .82F}, {o, .32F, 1.0F}, {o, .06F, .82F},
                                  {o, .20F, .58F}, {o, .46F, .38F}, {o, .57F, .14F}};
constexpr Knot kEightTwoLoops[] = {{S, .32F, .00F}, {o, .10F, .12F}, {o, .12F, .36F}, {o, .32F, .46F},
                                   {o, .52F, .34F}, {o, .52F, .10F}, {o, .32F, .00F}, {S, .32F, .46F},
                                   {o, .06F, .60F}, {o, .06F, .88F}, {o, .32F, 1.0F}, {o, .58F, .88F},
                                   {o, .58F, .60F}, {o, .32F, .46F}};

constexpr Knot kNineStraight[] = {{S, .56F, .16F}, {o, .34F, .00F}, {o, .08F, .14F},
                                  {o, .07F, .38F}, {o, .30F, .48F}, {o, .52F, .34F},
                                  {X, .57F, .12F}, {o, .53F, .55F}, {o, .48F, 1.0F}};
constexpr Knot kNineSlanted[] = {{S, .54F, .14F}, {o, .32F, .00F}, {o, .06F, .18F},
                                 {o, .12F, .42F}, {o, .36F, .44F}, {o, .54F, .22F},
                                 {o, .54F, .40F}, {o, .42F, .72F}, {o, .26F, 1.0F}};
constexpr Knot kNineHooked[] = {{S, .56F, .16F}, {o, .34F, .00F}, {o, .08F, .15F}, {o, .08F, .40F},
                                {o, .32F, .48F}, {o, .53F, .32F}, {X, .58F, .12F}, {o, .57F, .58F},
                                {o, .46F, .92F}, {o, .24F, 1.0F}, {o, .06F, .90F}};

constexpr std::array kGlyphs = {
    Glyph{0, .5F, kZeroFromRight}, Glyph{0, .5F, kZeroRound},     Glyph{1, .5F, kOneStroke},
    Glyph{1, .3F, kOneFlag},       Glyph{1, .2F, kOneBase},       Glyph{2, .5F, kTwoAngular},
    Glyph{2, .5F, kTwoLooped},     Glyph{3, .7F, kThreeRound},    Glyph{3, .3F, kThreeFlat},
    Glyph{4, .6F, kFourOpen},      Glyph{4, .4F, kFourClosed},    Glyph{5, .5F, kFiveOneStroke},
    Glyph{5, .5F, kFiveCap},       Glyph{6, .5F, kSixCurl},       Glyph{6, .5F, kSixUpright},
    Glyph{7, .4F, kSevenPlain},    Glyph{7, .25F, kSevenSerif},   Glyph{7, .35F, kSevenBarred},
    Glyph{8, .6F, kEightCrossed},  Glyph{8, .4F, kEightTwoLoops}, Glyph{9, .4F, kNineStraight},
    Glyph{9, .35F, kNineSlanted},  Glyph{9, .25F, kNineHooked}};

}  // namespace

std::span<const Glyph> digit_glyphs() { return kGlyphs; }

}  // namespace voxot
